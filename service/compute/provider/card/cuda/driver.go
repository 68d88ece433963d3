package cuda

import (
	"errors"
	"fmt"
	"unsafe"

	"github.com/ebitengine/purego"
)

// Library is the driver's own library, as the dynamic linker finds it.
const Library = "libcuda.so.1"

// ErrNoDriver is what Open says where there is no driver.
var ErrNoDriver = errors.New("cuda: no driver")

// driver has the functions of the driver API that a Card needs. Each returns a CUresult, 0 if it did what it
// was called for.
type driver struct {
	init            func(flags uint32) int32
	errorString     func(code int32, text **byte) int32
	deviceCount     func(n *int32) int32
	deviceGet       func(device *int32, index int32) int32
	deviceName      func(name *byte, size int32, device int32) int32
	deviceAttribute func(value *int32, attribute int32, device int32) int32
	retain          func(context *uintptr, device int32) int32
	release         func(device int32) int32
	setCurrent      func(context uintptr) int32
	synchronize     func() int32
	loadModule      func(module *uintptr, image *byte) int32
	function        func(f *uintptr, module uintptr, name string) int32
	memInfo         func(free, total *uint64) int32
	alloc           func(p *uint64, size uint64) int32
	free            func(p uint64) int32
	toDevice        func(to uint64, from unsafe.Pointer, size uint64) int32
	toHost          func(to unsafe.Pointer, from uint64, size uint64) int32
	launch          func(f uintptr, gridX, gridY, gridZ, blockX, blockY, blockZ, shared uint32, stream uintptr, params *unsafe.Pointer, extra uintptr) int32
}

// load opens a driver's library.
func load(library string) (*driver, error) {
	lib, err := purego.Dlopen(library, purego.RTLD_NOW|purego.RTLD_LOCAL)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNoDriver, err)
	}
	d := &driver{}
	for _, f := range []struct {
		name string
		to   any
	}{
		{"cuInit", &d.init}, {"cuGetErrorString", &d.errorString}, {"cuDeviceGetCount", &d.deviceCount}, {"cuDeviceGet", &d.deviceGet},
		{"cuDeviceGetName", &d.deviceName}, {"cuDeviceGetAttribute", &d.deviceAttribute}, {"cuDevicePrimaryCtxRetain", &d.retain},
		{"cuDevicePrimaryCtxRelease_v2", &d.release}, {"cuCtxSetCurrent", &d.setCurrent}, {"cuCtxSynchronize", &d.synchronize},
		{"cuModuleLoadData", &d.loadModule}, {"cuModuleGetFunction", &d.function}, {"cuMemGetInfo_v2", &d.memInfo}, {"cuMemAlloc_v2", &d.alloc},
		{"cuMemFree_v2", &d.free}, {"cuMemcpyHtoD_v2", &d.toDevice}, {"cuMemcpyDtoH_v2", &d.toHost}, {"cuLaunchKernel", &d.launch},
	} {
		at, err := purego.Dlsym(lib, f.name)
		if err != nil {
			return nil, fmt.Errorf("%w: %s has no %s: it is too old, or another library", ErrNoDriver, library, f.name)
		}
		purego.RegisterFunc(f.to, at)
	}
	return d, nil
}

// err returns what a CUresult of a call means; nil for 0.
func (d *driver) err(what string, code int32) error {
	if code == 0 {
		return nil
	}
	var text *byte
	if d.errorString(code, &text) != 0 || text == nil {
		return fmt.Errorf("cuda: %s: error %d", what, code)
	}
	n := 0
	for n < 256 && *(*byte)(unsafe.Add(unsafe.Pointer(text), n)) != 0 {
		n++
	}
	return fmt.Errorf("cuda: %s: %s (%d)", what, unsafe.String(text, n), code)
}
