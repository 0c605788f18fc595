"""Sends a message with the client that was generated from the document, and reads it back."""

import sys
import time

from lumora_client import AuthenticatedClient
from lumora_client.api.messages import get_message
from lumora_client.api.sending import send_email
from lumora_client.models import MessageDetails, SendAccepted, SendEmail


def main() -> None:
    base, secret = sys.argv[1:]
    client = AuthenticatedClient(base_url=base, token=secret)
    email = SendEmail(to=["Ada <ada@example.com>"], subject="Generated", text="It works.")
    accepted = send_email.sync(client=client, body=email, idempotency_key="generated-1")
    assert isinstance(accepted, SendAccepted), accepted
    again = send_email.sync(client=client, body=email, idempotency_key="generated-1")
    assert isinstance(again, SendAccepted) and again.idempotent_replay, again
    assert again.message_id == accepted.message_id, again
    deadline = time.monotonic() + 60
    while True:
        found = get_message.sync(accepted.message_id, client=client)
        assert isinstance(found, MessageDetails), found
        if found.message.status.value == "delivered":
            break
        assert time.monotonic() < deadline, found
        time.sleep(0.1)
    assert found.recipients[0].last_response.code == 250, found
    print(f"the generated client sent {accepted.message_id}, and it was delivered")


main()
