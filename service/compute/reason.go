package compute

import "github.com/cairn-network/cairn/core/types"

// The reasons that Verify refuses with.
const (
	TermsUnknown     types.Reason = "compute.terms_unknown"
	Overpriced       types.Reason = "compute.overpriced"
	SlotUnproven     types.Reason = "compute.slot_unproven"
	NonceMissing     types.Reason = "compute.nonce_missing"
	CheckUnwitnessed types.Reason = "compute.check_unwitnessed"
	CheckFailed      types.Reason = "compute.check_failed"
	SlotMissed       types.Reason = "compute.slot_missed"
	RowWrong         types.Reason = "compute.row_wrong"
	StepBroken       types.Reason = "compute.step_broken"
	WitnessNotDrawn  types.Reason = "compute.witness_not_drawn"
	LeafNotDrawn     types.Reason = "compute.leaf_not_drawn"
	ResultConflict   types.Reason = "compute.result_conflict"
	ResultWrong      types.Reason = "compute.result_wrong"
	ResultWithheld   types.Reason = "compute.result_withheld"
	ResultsOrder     types.Reason = "compute.results_order"
	NoResult         types.Reason = "compute.no_result"
	OverCapacity     types.Reason = "compute.over_capacity"
	ClassMismatch    types.Reason = "compute.class_mismatch"
	SuspendedHere    types.Reason = "compute.suspended"
	FaultUnproven    types.Reason = "compute.fault_unproven"
	FaultSettled     types.Reason = "compute.fault_settled"
)

// The reasons with which a device refuses an order (Answer).
const (
	Busy          types.Reason = "compute.busy"
	Unpaid        types.Reason = "compute.unpaid"
	PriceBelowAsk types.Reason = "compute.price_below_ask"
	Policy        types.Reason = "compute.policy"
	Draining      types.Reason = "compute.draining"
)

// The reasons with which jobs are refused or end. Of these Trap… can be what a Result says (Result.Trap).
const (
	BadModule      types.Reason = "compute.bad_module"
	ImportDenied   types.Reason = "compute.import_denied"
	FeatureDenied  types.Reason = "compute.feature_denied"
	TooLarge       types.Reason = "compute.too_large"
	InputMissing   types.Reason = "compute.input_missing"
	DigestMismatch types.Reason = "compute.digest_mismatch"
	NoSpace        types.Reason = "compute.no_space"
	NoMatch        types.Reason = "compute.no_match"
	NoJob          types.Reason = "compute.no_job"
	DeviceLost     types.Reason = "compute.device_lost"
	FilesUnkept    types.Reason = "compute.files_unkept"

	NoModel       types.Reason = "compute.no_model"
	ModelDown     types.Reason = "compute.model_down"
	ModelFailed   types.Reason = "compute.model_failed"
	TokensUnshown types.Reason = "compute.tokens_unshown"
	TooBusy       types.Reason = "compute.too_busy"
	Stalled       types.Reason = "compute.stalled"

	TrapFuel   types.Reason = "compute.fuel_exhausted"
	TrapGuest  types.Reason = "compute.trap"
	TrapMemory types.Reason = "compute.memory_limit"
	TrapOutput types.Reason = "compute.output_limit"
	TrapCut    types.Reason = "compute.cancelled"

	// Of containers.
	BadImage      types.Reason = "compute.bad_image"
	NoImage       types.Reason = "compute.no_image"
	TrapTime      types.Reason = "compute.time_limit"
	TrapProcesses types.Reason = "compute.process_limit"
	TrapDisk      types.Reason = "compute.disk_limit"

	// Of ports of containers.
	NotRunning     types.Reason = "compute.not_running"
	PortUndeclared types.Reason = "compute.port_undeclared"
	PortClosed     types.Reason = "compute.port_closed"
	PortBusy       types.Reason = "compute.port_busy"
	PortSilent     types.Reason = "compute.port_silent"

	// Of what containers reach.
	EgressDenied types.Reason = "compute.egress_denied"
	EgressFailed types.Reason = "compute.egress_failed"
	EgressBusy   types.Reason = "compute.egress_busy"
)

// reasons is the category's table. What a tally says of a device, a customer meets where that device made the
// mistake: 502.
var reasons = []types.ReasonInfo{
	{Reason: TermsUnknown, Status: 502, Sentence: "The receipt's ask was not made for its session, or has no terms that can be read.",
		Try: "Sign receipts under the ask with which the device accepted the order."},
	{Reason: Overpriced, Status: 502, Sentence: "The amount is more than units times price.", Try: "Sign at most ⌊units · price / scale⌋ at the price of the session's ask."},
	{Reason: SlotUnproven, Status: 502, Sentence: "No check was due at that moment, as far as its proof says, or checks of this epoch do not bind.",
		Try: "Answer the call of the verifier that was drawn for this epoch, with its proof, once."},
	{Reason: NonceMissing, Status: 502, Sentence: "Too few of the drawn witnesses signed a nonce for this device and moment.",
		Try: "Wait for the nonces of more than f witnesses before the first round; check the connection to verifiers."},
	{Reason: CheckUnwitnessed, Status: 502, Sentence: "Too few witnesses reported on the check to judge it.", Try: "Nothing: the next check counts."},
	{Reason: CheckFailed, Status: 502, Sentence: "Witnesses did not find the rounds that the device says it computed.",
		Try: "Read the device's log; a slow disk, a broken accelerator or another program in the way are the usual causes."},
	{Reason: SlotMissed, Status: 502, Sentence: "The device did not answer when it was checked.",
		Try: "Keep the device connected and its free slots free; to be left in peace, offer 0 free slots an epoch ahead."},
	{Reason: RowWrong, Status: 502, Sentence: "A row that the device committed to is not that of the product.",
		Try: "Test the accelerator's memory and clocks; the bond pays for wrong rows, whatever caused them."},
	{Reason: StepBroken, Status: 502, Sentence: "The device signed two different steps for one place, or one that does not follow from the step before.",
		Try: "Run one node for each device key, and let it keep its journal."},
	{Reason: WitnessNotDrawn, Status: 403, Sentence: "The report is by somebody who was not drawn for it, or reported before.", Try: "Report once on those that you were drawn for."},
	{Reason: LeafNotDrawn, Status: 409, Sentence: "The result was not drawn for an audit, or is none that can be audited now.",
		Try: "Audit what this epoch's seed draws among the public results of two epochs ago."},
	{Reason: ResultConflict, Status: 502, Sentence: "The device signed two different results for one job.", Try: "Run one node for each device key, and let it keep its journal."},
	{Reason: ResultWrong, Status: 502, Sentence: "Most of the drawn verifiers ran the job again and got another result.",
		Try: "Use a node that passes the profile's tests; check the machine's memory."},
	{Reason: ResultWithheld, Status: 502, Sentence: "Most of the drawn verifiers did not get the job, its inputs or its result from the device.",
		Try: "Keep what public jobs read until three epochs after their results, and stay reachable."},
	{Reason: ResultsOrder, Status: 502, Sentence: "The results do not follow those of the same session in this epoch.",
		Try: "Commit to the leaves of a session once in each epoch, in the order of their numbers, without a gap."},
	{Reason: NoResult, Status: 502, Sentence: "The receipt is for more than the results of its session in this epoch cover.",
		Try: "Commit to the leaves from the session's paid units on, in the same epoch; the receipt can be handed in again."},
	{Reason: OverCapacity, Status: 502, Sentence: "It is more than a device of its registered model can do in that time.",
		Try: "Register the device under the model that it is; what is too much now counts later."},
	{Reason: ClassMismatch, Status: 502, Sentence: "The session, or the round of the check, is of another class than it must be.",
		Try: "Use one session for each class; compute the round that the rules name for the registered model."},
	{Reason: SuspendedHere, Status: 502, Sentence: "The device is suspended for a fault or a failed audit: what it offers has no weight.",
		Try: "Wait until the epoch that its line names; jobs are still paid."},
	{Reason: FaultUnproven, Status: 400, Sentence: "What was handed in does not prove a fault.", Try: "Show what the device signed, unchanged, and check it before."},
	{Reason: FaultSettled, Status: 409, Sentence: "The fault is too old, or the device has paid for one of that time.", Try: "Nothing: faults of one time count once."},

	{Reason: Busy, Status: 503, Sentence: "The device has not as many slots free.", Try: "The gateway tries the next one by itself; try again later if all are busy."},
	{Reason: Unpaid, Status: 402, Sentence: "The customer has not signed for what the device already did, or has too few credits.", Try: "Buy credits; keep the gateway running while jobs run."},
	{Reason: PriceBelowAsk, Status: 409, Sentence: "The order's price is below what the device asks.", Try: "The gateway looks at the device's newest ask; raise the most that you pay."},
	{Reason: Policy, Status: 403, Sentence: "The device's owner does not run such jobs.", Try: "The gateway tries another device; ask for less memory, time or network."},
	{Reason: Draining, Status: 503, Sentence: "The device takes no new jobs: it is about to stop.", Try: "The gateway tries another device by itself."},

	{Reason: BadModule, Status: 400, Sentence: "The program is not a WebAssembly module that can run; the message says at which byte.", Try: "Validate it with wasm-validate, and compile it for wasm32-wasi (preview 1)."},
	{Reason: ImportDenied, Status: 400, Sentence: "The module imports something that is not of wasi_snapshot_preview1.", Try: "Compile it for wasm32-wasi (preview 1), without bindings to a browser or host."},
	{Reason: FeatureDenied, Status: 400, Sentence: "The module uses an instruction or feature that the profile leaves out.", Try: "Compile it without SIMD and threads (-mno-simd128, -mno-atomics)."},
	{Reason: TooLarge, Status: 413, Sentence: "The job, its module or its input is larger than the profile allows.", Try: "See the limits of the profile; split the job."},
	{Reason: InputMissing, Status: 404, Sentence: "An input that the job names by its digest is nowhere to be had.", Try: "Upload it before the job, and keep the gateway running."},
	{Reason: DigestMismatch, Status: 409, Sentence: "Bytes that came are not what their digest stands for: an input, an output, or a file that a job left.",
		Try: "Upload an input again; a job whose device sent other bytes than it signed begins anew on another one by itself."},
	{Reason: NoSpace, Status: 503, Sentence: "The device has not enough disk for what the job reads or leaves.", Try: "The gateway tries another device by itself."},
	{Reason: NoMatch, Status: 503, Sentence: "No device fits the job; the answer counts how many were passed over for which reason.",
		Try: "Raise the price, lower the least quality, or try again when devices are free."},
	{Reason: NoJob, Status: 404, Sentence: "The account has no job of this id.", Try: "List what there is: `cairn job list`."},
	{Reason: DeviceLost, Status: 502, Sentence: "The device went away while the job ran, and no other one could take it.", Try: "Submit the job again; it cost what the lost devices were paid while they ran it."},
	{Reason: FilesUnkept, Status: 507, Sentence: "The gateway had no room for the files that the job left; its result and what it wrote are kept.",
		Try: "Forget jobs that have ended (`cairn job cancel ID`), and run it again; leave less at a time."},

	{Reason: NoModel, Status: 404, Sentence: "No device offers a model of this id.", Try: "List what there is: GET /compute/v1/models."},
	{Reason: ModelDown, Status: 503, Sentence: "The device's server of models is not there, or lacks a model that is offered.",
		Try: "Start it, and look whether compute.model_url, compute.models and the key are right: `curl $URL/models`. The offer stands again within ten seconds."},
	{Reason: ModelFailed, Status: 502, Sentence: "The device's server of models failed to answer.", Try: "Send the request again; the device's log says what failed."},
	{Reason: TokensUnshown, Status: 502, Sentence: "The device charges for more tokens than the request and its answer can have.",
		Try: "Send the request again: the gateway has left the device, and pays it no more than what came can cost."},
	{Reason: TooBusy, Status: 429, Sentence: "All devices that have the model are busy, or ask more than the request pays; the answer counts how many were passed over for which reason.",
		Try: "Wait for as many seconds as the Retry-After header says; raise X-Cairn-Price where the price is in the way."},
	{Reason: Stalled, Status: 408, Sentence: "The customer did not take the answer as fast as it came.", Try: "Read the stream as it comes, or ask for an answer as a whole."},

	{Reason: TrapFuel, Status: 409, Sentence: "The job used up its fuel before it ended; what it wrote is kept, and the limit is charged.", Try: "Raise --limit, or look for an endless loop."},
	{Reason: TrapGuest, Status: 409, Sentence: "The program did something that WebAssembly forbids, and was stopped.", Try: "Read its standard error; run it under a debugger with the same input."},
	{Reason: TrapMemory, Status: 409, Sentence: "The program asked for more memory than the job allows.", Try: "Raise --memory, or use less."},
	{Reason: TrapOutput, Status: 409, Sentence: "The program wrote more than a job may keep.", Try: "Write less, or split the job."},
	{Reason: TrapCut, Status: 409, Sentence: "The customer cancelled the job.", Try: "Nothing: what was not paid by then is not charged."},

	{Reason: BadImage, Status: 400, Sentence: "The image can't be run: its manifest, its configuration or a layer is not what it must be, or it has no such program.",
		Try: "Push an image for this platform; name a program that is in it: cairn job run --oci IMAGE PROGRAM."},
	{Reason: NoImage, Status: 404, Sentence: "The account has no image of this name here.", Try: "Push it into the gateway's registry: skopeo copy; network.json names its address."},
	{Reason: TrapTime, Status: 409, Sentence: "The container ran for as long as the job allows; what it wrote is kept, and the limit is charged.",
		Try: "Raise --limit, or look for an endless loop."},
	{Reason: TrapProcesses, Status: 409, Sentence: "The container began more processes and threads than it may have.", Try: "Begin fewer at a time."},
	{Reason: TrapDisk, Status: 409, Sentence: "The container wrote more into files than it may.", Try: "Raise --memory, half of which files may take, or write less."},

	{Reason: NotRunning, Status: 409, Sentence: "The job does not run at present: it has ended, or no device has begun with it yet.",
		Try: "Look how it is: `cairn job result ID`. One that has just been submitted begins within seconds."},
	{Reason: PortUndeclared, Status: 404, Sentence: "The job was submitted without this port.", Try: "Name each port that is to be reached: cairn job run --oci IMAGE --port PORT."},
	{Reason: PortClosed, Status: 502, Sentence: "Nothing listens on the port in the container.",
		Try: "Try again if the program has just begun; have it listen on all addresses or on 127.0.0.1, and read what it wrote: `cairn job logs ID`."},
	{Reason: PortBusy, Status: 429, Sentence: "As many connections to ports of the job, or of the account's jobs, are open as may be.", Try: "Close some, or let them be used again (HTTP keep-alive)."},
	{Reason: PortSilent, Status: 504, Sentence: "The device, or what listens in the container, did not answer in time.",
		Try: "Try again; look whether the job stands still because it is not paid for: `cairn credit show`."},

	{Reason: EgressDenied, Status: 403, Sentence: "The device's owner does not let containers reach this destination.",
		Try: "See what each device lets be reached: `cairn market --class oci`; ask for one that does: --egress HOST:PORT. Owners set compute.egress."},
	{Reason: EgressFailed, Status: 502, Sentence: "The destination may be reached, and did not answer or has no address.", Try: "Look whether its name is right; try again."},
	{Reason: EgressBusy, Status: 503, Sentence: "The container has as many connections open to what is outside as it may.", Try: "Close some; open fewer at a time."},
}
