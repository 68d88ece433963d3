// Package fuel rewrites a WebAssembly module into one that counts what it does: profile wasm/1 of the category
// compute.
//
// Whatever runs the rewritten module counts the same: every basic block pays its instructions in advance from a
// global of the module (Fuel), and one that can no longer pay traps. So a stranger can run it again, with
// another engine, and must come to the same fuel, the same output and the same end. SPEC.md of the category,
// "Profile wasm/1", says what each thing costs and what a module may hold.
//
//	metered, err := fuel.Rewrite(module) // err carries a reason: BadModule, ImportDenied, FeatureDenied or TooLarge
//
// The engine sets the exported global Fuel before it calls _start, and reads it afterwards:
//
//   - Fuel below zero: the module ran out of it, and used all that it was given.
//   - Depth above MaxDepth: calls were nested too deeply.
//   - Refused above zero: the module asked for memory that it did not get.
//
// Rewrite decodes and validates the whole module by itself. A module that it takes is valid WebAssembly, and so
// is what it makes of it. It takes time and memory in proportion to the module's length, whatever the module
// is. Custom sections are dropped; numbers of types, functions, globals, tables and segments stay what they
// were, so that traces of the two can be compared.
package fuel

import "github.com/cairn-network/cairn/core/types"

// Version is raised with each change of what Rewrite makes of a module: what was made before is not used again.
const Version = 1

// Names of the globals that the rewritten module exports. A module that exports a name with this beginning is
// refused.
const (
	prefix  = "cairn:"
	Fuel    = prefix + "fuel"    // i64, mutable: what is left
	Depth   = prefix + "depth"   // i32, mutable: what nested calls weigh
	Refused = prefix + "refused" // i32, mutable: how often memory.grow was refused
)

// Bounds of a module.
const (
	MaxModule = 32 << 20  // bytes, before
	MaxOutput = 128 << 20 // bytes, rewritten
	MaxDepth  = 10_000    // what nested calls may weigh: each call 1, and 1 more for every 256 instructions and locals of its function
	MaxLocals = 1_000     // of a function, with its parameters
	MaxStack  = 1_000     // operands of a function at one time
	MaxPages  = 65_536    // of memory, 64 KiB each

	maxTypes     = 65_536
	maxArity     = 256 // parameters, and results, of a function or block
	maxImports   = 1_024
	maxFunctions = 200_000
	maxGlobals   = 100_000
	maxExports   = 100_000
	maxSegments  = 100_000
	maxTables    = 4
	maxTable     = 1_000_000 // entries
	maxNesting   = 50_000    // blocks in blocks
	maxTargets   = 65_520    // of a br_table
	maxBody      = 7_654_321 // bytes of a function, before and after: V8's limit
	// maxEffort bounds what compiling a module takes, which grows with the square of a function's basic blocks
	// and the cube of nested loops: without it 3 KB of nested loops keep wazero busy for minutes. A unit takes
	// 20 to 400 ns there.
	maxEffort = 500_000_000
)

// Prices, in fuel. Every instruction costs 1, except block, loop, else and end, which do nothing.
const (
	CostPage = 4_096 // a page that memory.grow asks for
	CostCall = 500   // a WASI call, and 1 for every 8 bytes that it moves
	costArgs = 8_192 // args_get and environ_get: as if they moved MaxArgs bytes
	MaxArgs  = 8 * costArgs
	MaxPath  = 4_096 // bytes of a path that a WASI call gives; a longer one is ENAMETOOLONG
	MaxList  = 1_024 // buffers or subscriptions; more are EINVAL
	MaxFile  = 4_095 // the highest number that fd_renumber may give; others are EBADF
	perFrame = 256   // instructions and locals of a function for 1 of depth
)

// The reasons that a module is refused with: the category tells what to do about each.
const (
	BadModule     types.Reason = "compute.bad_module"
	ImportDenied  types.Reason = "compute.import_denied"
	FeatureDenied types.Reason = "compute.feature_denied"
	TooLarge      types.Reason = "compute.too_large"
)
