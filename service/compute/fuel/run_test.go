package fuel

import (
	"context"
	"strings"
	"testing"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/imports/wasi_snapshot_preview1"
)

const plenty = 1 << 40

// outcome is what a run came to.
type outcome struct {
	trap    string
	used    int64
	depth   uint32
	refused uint32
	memory  []byte
	globals []uint64
}

func compiler() wazero.RuntimeConfig    { return wazero.NewRuntimeConfigCompiler() }
func interpreter() wazero.RuntimeConfig { return wazero.NewRuntimeConfigInterpreter() }

// execute runs a module's _start with an engine of wazero; with fuel, if the module counts it.
func execute(t testing.TB, engine wazero.RuntimeConfig, module []byte, fuel int64) outcome {
	t.Helper()
	ctx := context.Background()
	features := api.CoreFeaturesV2 &^ api.CoreFeatureSIMD
	r := wazero.NewRuntimeWithConfig(ctx, engine.WithCoreFeatures(features).WithMemoryLimitPages(64))
	defer r.Close(ctx)
	wasi_snapshot_preview1.MustInstantiate(ctx, r)
	compiled, err := r.CompileModule(ctx, module)
	if err != nil {
		t.Fatalf("the engine refuses the module: %v", err)
	}
	mod, err := r.InstantiateModule(ctx, compiled, wazero.NewModuleConfig().WithStartFunctions())
	if err != nil {
		t.Fatalf("the engine refuses to make an instance: %v", err)
	}
	left, metered := mod.ExportedGlobal(Fuel).(api.MutableGlobal)
	if metered {
		left.Set(uint64(fuel))
	}
	var o outcome
	if _, err := mod.ExportedFunction("_start").Call(ctx); err != nil {
		o.trap, _, _ = strings.Cut(err.Error(), "\n")
	}
	if metered {
		o.used = fuel - int64(left.Get())
		o.depth = uint32(mod.ExportedGlobal(Depth).Get())
		o.refused = uint32(mod.ExportedGlobal(Refused).Get())
	}
	for i := 0; ; i++ {
		g := mod.ExportedGlobal("g" + string(rune('0'+i)))
		if g == nil {
			break
		}
		o.globals = append(o.globals, g.Get())
	}
	if m := mod.Memory(); m != nil {
		b, _ := m.Read(0, m.Size())
		o.memory = append([]byte(nil), b...)
	}
	return o
}

// rewrite is Rewrite of a module that must be taken.
func rewrite(t testing.TB, module []byte) []byte {
	t.Helper()
	out, err := Rewrite(module)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// metered runs a module with fuel, by the compiler.
func metered(t testing.TB, w wasm, fuel int64) outcome {
	t.Helper()
	return execute(t, compiler(), rewrite(t, w.bytes()), fuel)
}

// valid says whether wazero takes a module.
func valid(t testing.TB, module []byte) bool {
	t.Helper()
	ctx := context.Background()
	r := wazero.NewRuntimeWithConfig(ctx, interpreter().WithCoreFeatures(api.CoreFeaturesV2&^api.CoreFeatureSIMD))
	defer r.Close(ctx)
	_, err := r.CompileModule(ctx, module)
	if err != nil {
		t.Log(err)
	}
	return err == nil
}
