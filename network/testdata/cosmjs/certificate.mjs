// A wallet that knows nothing of Cairn but its published messages: CosmJS splits a certificate, gives half away, retires both halves, and
// is refused what was done before. Input is one JSON argument; output is one line of JSON.
import { DirectSecp256k1HdWallet, Registry } from "@cosmjs/proto-signing";
import { SigningStargateClient, calculateFee, defaultRegistryTypes, GasPrice } from "@cosmjs/stargate";
import { Comet38Client } from "@cosmjs/tendermint-rpc";
import protobuf from "protobufjs";

const { rpc, rest, words, other, id, at } = JSON.parse(process.argv[2]);

const root = protobuf.parse(`
syntax = "proto3";
package cairn;
message MsgSplit { string owner = 1; string id = 2; uint64 at = 3; }
message MsgTransfer { string owner = 1; string id = 2; string to = 3; }
message MsgRetire { string owner = 1; string id = 2; string beneficiary = 3; uint64 hour = 4; }
`, { keepCase: true }).root;
const registry = new Registry(defaultRegistryTypes);
for (const name of ["MsgSplit", "MsgTransfer", "MsgRetire"]) registry.register(`/cairn.certificate.v1.${name}`, root.lookupType(`cairn.${name}`));

const config = await (await fetch(`${rest}/cosmos/base/node/v1beta1/config`)).json();
const gasPrice = GasPrice.fromString(config.minimum_gas_price);

// as signs as the account of words, and returns what became of it: 0, or the code and the end of the log.
const as = async (words) => {
  const wallet = await DirectSecp256k1HdWallet.fromMnemonic(words, { prefix: "cairn" });
  const [{ address }] = await wallet.getAccounts();
  const client = SigningStargateClient.createWithSigner(await Comet38Client.connect(rpc), wallet, { registry, gasPrice });
  const send = async (name, value) => {
    const res = await client.signAndBroadcast(address, [{ typeUrl: `/cairn.certificate.v1.${name}`, value: { owner: address, ...value } }], calculateFee(500000, gasPrice));
    return res.code === 0 ? "" : res.rawLog.split(": ").pop();
  };
  return { address, send, end: () => client.disconnect() };
};

const part = `${id.split("/")[0]}/${at}`;
const a = await as(words);
const b = await as(other);
const out = {};
out.split = await a.send("MsgSplit", { id, at });
out.transfer = await a.send("MsgTransfer", { id: part, to: b.address });
out.foreign = await a.send("MsgRetire", { id: part, beneficiary: "not mine any more" });
out.retired = [await a.send("MsgRetire", { id, beneficiary: "Bakery Ltd" }), await b.send("MsgRetire", { id: part })];
out.again = [await a.send("MsgRetire", { id }), await b.send("MsgTransfer", { id: part, to: a.address })];
console.log(JSON.stringify(out));
a.end();
b.end();
