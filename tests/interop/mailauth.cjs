// mailauth's judgement of received messages: a line of JSON for each file. Every name is asked of
// the name server that is given.
//
// usage: node mailauth.cjs HOME DNS_ADDRESS IP HELO < list of files
const { readFileSync } = require('node:fs');
const { Resolver } = require('node:dns').promises;
const [home, dns, ip, helo] = process.argv.slice(2);
const { authenticate } = require(`${home}/node_modules/mailauth`);

const names = new Resolver();
names.setServers([dns]);
const resolver = (name, type) => names.resolve(name, type);

(async () => {
  for (const path of readFileSync(0, 'utf8').split('\n').filter(Boolean)) {
    const message = readFileSync(path);
    const told = await authenticate(message, {
      ip, helo, resolver, trustReceived: true, mta: 'reader.test', disableArc: true, disableBimi: true,
    });
    console.log(JSON.stringify({
      dkim: told.dkim.results.map((result) => result.status.result),
      aligned: told.dkim.results.map((result) => result.status.aligned),
      spf: told.spf.status.result,
      dmarc: told.dmarc.status.result,
      why: told.headers,
    }));
  }
})();
