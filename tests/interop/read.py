"""Reads received messages as a receiver does: dkimpy verifies every signature on the bytes as they
lie there, authheaders judges SPF, DKIM and DMARC, and Python's own parser says what a reader sees.
Every name is asked of the name server that is given; the answer is JSON, a line for each file.

usage: read.py DNS_ADDRESS IP HELO < list of files"""

import base64
import email
import email.policy
import functools
import json
import re
import sys

import authheaders
import dkim
import dns.resolver
from authheaders import dmarc_lookup

address, ip, helo = sys.argv[1:]
resolver = dns.resolver.Resolver(configure=False)
host, port = address.split(":")
resolver.nameservers, resolver.port = [host], int(port)
# All three libraries ask this one.
dns.resolver.default_resolver = resolver
# The list of public suffixes is read once for a domain, not once for a question.
dmarc_lookup.get_org_domain_from_suffix_list = functools.cache(
    dmarc_lookup.get_org_domain_from_suffix_list
)


def signers(raw):
    """The domains whose signatures hold, one for each, and what went wrong with the others."""
    domains = []
    for index in range(len(email.message_from_bytes(raw).get_all("DKIM-Signature", []))):
        verifier = dkim.DKIM(raw)
        try:
            if verifier.verify(idx=index):
                domains.append(verifier.domain.decode())
        except Exception as error:
            domains.append(repr(error))
    return domains


def judged(raw, ip, sender):
    return authheaders.authenticate_message(
        raw, "reader.test", spf=True, dkim=True, dmarc=True, ip=ip, mail_from=sender, helo=helo
    )


for path in sys.stdin.read().split():
    raw = open(path, "rb").read()
    message = email.message_from_bytes(raw, policy=email.policy.default)
    verifier = dkim.DKIM(raw)
    verifier.verify()
    damaged = raw.replace(b"Subject: ", b"Subject: x", 1)
    # A header of Exim's has it without brackets.
    sender = re.sub("[<>]", "", message["Return-Path"]).strip()
    part_of = lambda kind: (part := message.get_body((kind,))) and part.get_content()
    files = {
        part.get_filename(): base64.b64encode(part.get_payload(decode=True)).decode()
        for part in message.walk()
        if part.get_filename()
    }
    print(json.dumps({
        "id": message["Message-ID"].strip("<>").split("@")[0],
        "signers": signers(raw),
        "signersOfDamaged": signers(damaged),
        "signed": [name.decode().lower() for name in verifier.include_headers or []],
        "results": judged(raw, ip, sender),
        "elsewhere": judged(raw, "127.0.0.99", sender),
        "returnPath": sender,
        "subject": message["Subject"],
        "from": str(message["From"]),
        "to": str(message["To"]),
        "text": part_of("plain"),
        "html": part_of("html"),
        "files": files,
        "header": message["X-Note"],
        "longest": max(len(line) for line in raw.splitlines()),
    }))
