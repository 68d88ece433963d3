package storage

import "github.com/cairn-network/cairn/core/types"

// The reasons that a device gives to customers, and a gateway to whoever stores and reads through it. They
// never stand in a tally.
const (
	Full          types.Reason = "storage.full"
	FolderGone    types.Reason = "storage.folder_gone"
	DiskFailed    types.Reason = "storage.disk_failed"
	DataLost      types.Reason = "storage.data_lost"
	Unproven      types.Reason = "storage.unproven"
	Unpaid        types.Reason = "storage.unpaid"
	AskExpired    types.Reason = "storage.ask_expired"
	RootMismatch  types.Reason = "storage.root_mismatch"
	ShardMismatch types.Reason = "storage.shard_mismatch"
	NoShard       types.Reason = "storage.no_shard"
	TooSlow       types.Reason = "storage.too_slow"
	TooFewDevices types.Reason = "storage.too_few_devices"
	ShardsLost    types.Reason = "storage.shards_lost"
	NoObject      types.Reason = "storage.no_object"
	NoProfile     types.Reason = "storage.no_profile"
	BadRange      types.Reason = "storage.bad_range"
	BadRecord     types.Reason = "storage.bad_record"
	Truncated     types.Reason = "storage.truncated"
)

// customerReasons are the rows of those reasons in the category's table. What a device refuses is 502 where
// another device may do better, as the gateway then tried others.
func customerReasons() []types.ReasonInfo {
	return []types.ReasonInfo{
		{Reason: Full, Status: 502, Sentence: "The device has no room for more shards, or its disk failed to take them.", Try: "Store on another device; the gateway does so by itself."},
		{Reason: FolderGone, Status: 502, Sentence: "The folder in which the device keeps its shards is gone, or is another than it opened.",
			Try: "The device's owner mounts the disk again, or puts the folder back, and restarts the device; if it is lost for good, `cairn-node run --new-folder storage` begins anew. The gateway uses other devices by itself."},
		{Reason: DiskFailed, Status: 502, Sentence: "The device's disk failed to keep what was written, so the device takes nothing more.",
			Try: "The device's owner checks the disk and its room (dmesg, smartctl, df), mends or replaces it, and restarts the device."},
		{Reason: DataLost, Status: 502, Sentence: "The device found shards gone from its disk and has declared them lost.",
			Try: "The device's owner checks the disk (dmesg, smartctl) and who else writes to its folder; customers store there again once it has proven for a day."},
		{Reason: Unproven, Status: 502, Sentence: "The device did not prove in time that it still has what it holds, so it earned nothing and its quality fell.",
			Try: "The device's owner reads its log: a slow or failing disk, a connection that was away, or a clock or a machine that slept."},
		{Reason: Unpaid, Status: 402, Sentence: "The customer has not signed for what the device already did.", Try: "Sign the receipts that are due; check the account's credits."},
		{Reason: AskExpired, Status: 502, Sentence: "The ask that the session refers to has lapsed.", Try: "Fetch the device's current ask and open a session under it."},
		{Reason: RootMismatch, Status: 502, Sentence: "Device and customer arrive at different holdings.", Try: "Both go back to the last co-signed revision and replay; the gateway does so by itself."},
		{Reason: ShardMismatch, Status: 502, Sentence: "The bytes are not those that the shard's name stands for.", Try: "Read the shard from another device, or rebuild it."},
		{Reason: NoShard, Status: 502, Sentence: "The device does not have the shard, for this account.", Try: "Send it again, read it from another device, or rebuild it."},
		{Reason: TooSlow, Status: 504, Sentence: "The request took longer to arrive than its bytes may take.", Try: "Send at 64 KiB/s or faster; the gateway tries other devices by itself."},
		{Reason: TooFewDevices, Status: 503, Sentence: "Fewer devices than the profile demands took their shards.", Try: "Try again; add devices, or store with a smaller profile."},
		{Reason: ShardsLost, Status: 503, Sentence: "Fewer shards than the profile needs could be read; the message names the segment and its slots.", Try: "Try again when devices are back; other ranges of the object can still be read."},
		{Reason: NoObject, Status: 404, Sentence: "The account has stored no object of this id.", Try: "List what there is: `cairn store list`."},
		{Reason: NoProfile, Status: 400, Sentence: "There is no profile of this name.", Try: "Use lab, std or deep."},
		{Reason: BadRange, Status: 416, Sentence: "The range lies outside the object.", Try: "Ask for bytes below the object's size."},
		{Reason: BadRecord, Status: 410, Sentence: "The gateway's books of this object are damaged: it can be listed and deleted, and not be read.", Try: "Delete it by its id and store it again."},
		{Reason: Truncated, Status: 400, Sentence: "The upload ended before all of it had come.", Try: "Send it again."},
	}
}
