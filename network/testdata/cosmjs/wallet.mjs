// A wallet that knows nothing of Cairn but its published messages: CosmJS queries, buys credits, grants a session key, registers a
// device from its claim code, and claims what devices earned. Input is one JSON argument; output is one line of JSON.
import { DirectSecp256k1HdWallet, Registry } from "@cosmjs/proto-signing";
import { SigningStargateClient, StargateClient, calculateFee, defaultRegistryTypes, GasPrice } from "@cosmjs/stargate";
import { Comet38Client } from "@cosmjs/tendermint-rpc";
import protobuf from "protobufjs";

const { rpc, rest, api, words, statement, device } = JSON.parse(process.argv[2]);

const root = protobuf.parse(`
syntax = "proto3";
package cairn;
message Coin { string denom = 1; string amount = 2; }
message MsgBuyCredits { string buyer = 1; Coin amount = 2; uint64 min_credits = 3; uint32 region = 4; }
message MsgGrantKey { string account = 1; string key = 2; uint64 limit = 3; uint64 expiry = 4; uint32 region = 5; bytes proof = 6; }
message MsgRegisterDevice { string owner = 1; bytes statement = 2; Coin bond = 3; }
message Claim { uint64 epoch = 1; uint32 region = 2; bytes leaf = 3; uint64 index = 4; bytes siblings = 5; }
message MsgClaim { string sender = 1; Claim claim = 2; }
`, { keepCase: true }).root;
const registry = new Registry([
  ...defaultRegistryTypes,
  ["/cairn.credit.v1.MsgBuyCredits", root.lookupType("cairn.MsgBuyCredits")],
  ["/cairn.credit.v1.MsgGrantKey", root.lookupType("cairn.MsgGrantKey")],
  ["/cairn.device.v1.MsgRegisterDevice", root.lookupType("cairn.MsgRegisterDevice")],
  ["/cairn.tally.v1.MsgClaim", root.lookupType("cairn.MsgClaim")],
]);

const json = async (url, init) => {
  const res = await fetch(url, init);
  if (!res.ok) throw new Error(`${url}: ${res.status} ${await res.text()}`);
  return res.json();
};
const bytes = (base64) => Uint8Array.from(Buffer.from(base64, "base64"));

// The path that CosmJS takes by itself: it does not know this CometBFT and falls back to an older client.
const plain = await StargateClient.connect(rpc);
const plainHeight = await plain.getHeight();
plain.disconnect();

const comet = await Comet38Client.connect(rpc);
const wallet = await DirectSecp256k1HdWallet.fromMnemonic(words, { prefix: "cairn" });
const [{ address }] = await wallet.getAccounts();
const gasPrice = GasPrice.fromString((await json(`${rest}/cosmos/base/node/v1beta1/config`)).minimum_gas_price);
const client = SigningStargateClient.createWithSigner(comet, wallet, { registry, gasPrice });
const chain = await client.getChainId();
const before = await client.getBalance(address, "ustone");

const send = async (typeUrl, value) => {
  const res = await client.signAndBroadcast(address, [{ typeUrl, value }], calculateFee(2000000, gasPrice));
  if (res.code !== 0) throw new Error(`${typeUrl}: code ${res.code}: ${res.rawLog}`);
  return { height: res.height, events: res.events.length };
};

const bought = await send("/cairn.credit.v1.MsgBuyCredits", { buyer: address, amount: { denom: "ustone", amount: "3000000" }, min_credits: 1 });

const key = await json(`${api}/v1/keys`, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ account: address }) });
const status = await json(`${api}/v1/status`);
const granted = await send("/cairn.credit.v1.MsgGrantKey", {
  account: address, key: key.payer, limit: 1000000, expiry: status.epoch + 100, region: 0, proof: Uint8Array.from(Buffer.from(key.consent, "hex")),
});

const registered = await send("/cairn.device.v1.MsgRegisterDevice", { owner: address, statement: bytes(statement), bond: { denom: "ustone", amount: "0" } });

const claim = await json(`${api}/api/claim/${device}`);
const claimed = await send("/cairn.tally.v1.MsgClaim", {
  sender: address,
  claim: { epoch: claim.epoch, region: claim.region, leaf: bytes(claim.leaf), index: claim.index, siblings: bytes(claim.siblings ?? "") },
});

// The same, read back through REST.
const account = await json(`${rest}/cosmos/bank/v1beta1/balances/${address}/by_denom?denom=ustone`);
const after = await client.getBalance(address, "ustone");
console.log(JSON.stringify({ chain, address, plainHeight, before: before.amount, after: after.amount, rest: account.balance.amount, bought, granted, registered, claimed, payer: key.payer }));
client.disconnect();
