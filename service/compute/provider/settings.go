package provider

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/internal/disk"
	"github.com/cairn-network/cairn/service/compute"
	"github.com/cairn-network/cairn/service/role"
)

// Settings is what an owner sets of a compute device: the section "compute" of node.yaml.
type Settings struct {
	Slots      uint32       `json:"slots" doc:"How many jobs run at once, one on each core. Proposed is one less than the machine has."`
	Price      uint64       `json:"price" doc:"What a program costs, in micro-credits ($0.000001) for 10⁹ instructions. 5 makes a cent for 2·10¹²; how long a core takes for these depends on the program."`
	Memory     uint64       `json:"memory_bytes" doc:"How much memory the jobs that run have together, in bytes."`
	Disk       uint64       `json:"disk_bytes" doc:"How much of the disk is for what jobs read and write, in bytes, half of it each. Public jobs are kept for three epochs, for whoever checks them."`
	OCIPrice   uint64       `json:"oci_price" doc:"What a container costs for an hour of one slot (a core, 2 GiB of memory), in micro-credits. 0: containers are not offered. They need Linux, runc and root."`
	Images     uint64       `json:"images_bytes" doc:"How much of the disk is for the images of containers, unpacked, beside disk_bytes."`
	Egress     []string     `json:"egress" doc:"What containers may reach on the network, each HOST:PORT, *.DOMAIN:PORT or NETWORK:PORT (203.0.113.0/24, [2001:db8::/32]), * for all ports; none for nothing. You answer for what goes out there. Addresses of this machine, of private networks and of a cloud's metadata are reached only where a rule names just them."`
	Unopened   types.Credit `json:"unopened_credits" doc:"How much work is done in a day, in micro-credits, for customers who have not reached the least amount that can be paid out. It is what strangers can cost you."`
	ModelURL   string       `json:"model_url" doc:"A server of language models with OpenAI's API (llama.cpp, Ollama, vLLM) whose answers are sold, with its /v1, like http://127.0.0.1:11434/v1; \"\" for none. Each request that is answered takes a slot."`
	Models     []string     `json:"models" doc:"Which of its models are offered, by the names under which customers ask for them: ID, or ID=NAME where the server has another name for it."`
	ModelPrice uint64       `json:"model_price" doc:"What 10⁶ weighted tokens cost, in micro-credits ($0.000001)."`
	Prompt     uint32       `json:"prompt_weight" doc:"As how many tokens one of a prompt counts."`
	Completion uint32       `json:"completion_weight" doc:"As how many tokens one of an answer counts."`
	ModelKey   string       `json:"model_key_file" doc:"A file that holds the API key of that server, readable by you alone; \"\" for none, or for one in the variable CAIRN_MODEL_KEY."`
	Card       string       `json:"card" doc:"The number of an NVIDIA card, counted from 0, that computes live checks for a device that is registered as an accelerator; \"\" for none."`
	Private    []string     `json:"private_gateways" doc:"Networks beyond the public internet, like 10.0.0.0/8, where gateways may be. Jobs of gateways elsewhere in private networks are not taken."`
}

// Device is compute on a device.
func Device() role.Device {
	return role.Device{
		Category: types.Compute, Settings: Settings{}, Find: find, New: provide, Example: "--offer compute --set compute.price=5",
	}
}

// leastImages is what a device that offers containers has for their images.
const leastImages = 1 << 30

// leastMemory is what the machine must have for jobs.
const leastMemory = 512 << 20

// find proposes all cores but one, half of the memory, a quarter of the disk, and says what the machine lacks
// to hold strangers' code.
func find(ctx context.Context, dir string) (json.RawMessage, string, error) {
	free, err := disk.Free(dir)
	if err != nil {
		return nil, "", err
	}
	memory := machineMemory()
	cores := max(1, runtime.NumCPU()-1)
	line := fmt.Sprintf("%d of %d cores, %d MiB of memory, %d GiB of disk free", cores, runtime.NumCPU(), memory>>20, free>>30)
	if memory/2 < leastMemory || free < 8<<30 {
		return nil, line + ": too little", nil
	}
	ctx, cancel := context.WithTimeout(ctx, probeTime)
	defer cancel()
	lacks, err := probe(ctx)
	if err != nil {
		return nil, "", err
	}
	if len(lacks) > 0 {
		return nil, line + "; strangers' programs cannot be held safely: " + lackText(lacks), nil
	}
	price, images := uint64(OCIPrice), min(free/4, 64<<30)>>20<<20
	if lacks, err = probeOCI(ctx); err != nil {
		return nil, "", err
	}
	if len(lacks) > 0 {
		price = 0
		line += "; containers are not offered: " + lackText(lacks)
	}
	s, err := json.Marshal(&Settings{
		OCIPrice: price, Images: images, Slots: uint32(min(cores, 256)), Price: Price, Memory: memory / 2 >> 20 << 20, Disk: min(free/4, 64<<30) >> 20 << 20, Unopened: Config{}.withDefaults().Unopened,
		Private: []string{}, Egress: []string{}, Models: []string{}, ModelPrice: ModelPrice, Prompt: 1, Completion: 4,
	})
	return s, line, err
}

func lackText(lacks []Lack) string {
	text := make([]string, len(lacks))
	for i, l := range lacks {
		text[i] = l.Text
	}
	return strings.Join(text, "; ")
}

// machineMemory returns how much memory the machine has, as far as it says so.
func machineMemory() uint64 {
	f, err := os.Open("/proc/meminfo")
	if err != nil {
		return 2 << 30
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		if kib, ok := strings.CutPrefix(s.Text(), "MemTotal:"); ok {
			n, err := strconv.ParseUint(strings.TrimSuffix(strings.TrimSpace(kib), " kB"), 10, 54)
			if err == nil {
				return n << 10
			}
		}
	}
	return 2 << 30
}

// provide returns the provider that settings describe.
func provide(settings json.RawMessage) (out role.Provider, err error) {
	var s Settings
	dec := json.NewDecoder(bytes.NewReader(settings))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&s); err != nil {
		return out, fmt.Errorf("compute: settings: %w", err)
	}
	cfg, err := s.config()
	if err != nil {
		return out, err
	}
	p, err := New(cfg)
	if err != nil {
		return out, err
	}
	return p.Role(), nil
}

// config returns what settings mean.
func (s *Settings) config() (Config, error) {
	cfg := Config{
		Slots: s.Slots, Prices: map[types.Class]uint64{compute.Wasm: s.Price}, Memory: s.Memory, Disk: s.Disk, Unopened: s.Unopened,
		Open: s.open,
	}
	if s.OCIPrice > 0 {
		cfg.Prices[compute.OCI] = s.OCIPrice
	}
	var err error
	if cfg.Models, err = s.server(); err != nil {
		return cfg, err
	}
	if cfg.Models != nil {
		cfg.Prices[compute.Model] = cmp.Or(s.ModelPrice, ModelPrice)
		if s.Price == 0 { // models alone
			delete(cfg.Prices, compute.Wasm)
		}
	}
	switch {
	case s.Slots == 0 || s.Slots > 256:
		return cfg, fmt.Errorf("compute: settings: slots: %d, want 1 to 256", s.Slots)
	case s.Memory < leastMemory/8:
		return cfg, fmt.Errorf("compute: settings: memory_bytes: %d, want at least %d", s.Memory, uint64(leastMemory/8))
	case s.Disk < 4*(compute.MaxModule+2*maxStream):
		return cfg, fmt.Errorf("compute: settings: disk_bytes: %d, want at least %d", s.Disk, uint64(4*(compute.MaxModule+2*maxStream)))
	case s.OCIPrice > 0 && s.Images < leastImages:
		return cfg, fmt.Errorf("compute: settings: images_bytes: %d, want at least %d", s.Images, uint64(leastImages))
	case s.Unopened == 0:
		return cfg, fmt.Errorf("compute: settings: unopened_credits: with none, no customer could ever begin")
	}
	if _, err := compute.ParseEgress(s.Egress); err != nil {
		return cfg, fmt.Errorf("compute: settings: egress: %w", err)
	}
	if cfg.Card, err = startCard(s.Card); err != nil {
		return cfg, err
	}
	for _, text := range s.Private {
		p, err := netip.ParsePrefix(text)
		if err != nil {
			return cfg, fmt.Errorf("compute: settings: private_gateways: %w", err)
		}
		cfg.Private = append(cfg.Private, p)
	}
	return cfg, nil
}

// open starts what runs jobs of the classes that are offered.
func (s *Settings) open(dir string) (list []Executor, lacks []Lack, err error) {
	add := func(e Executor, l []Lack, failed error) {
		lacks, err = append(lacks, l...), errors.Join(err, failed)
		if e != nil {
			list = append(list, e)
		}
	}
	add(OpenWasm(filepath.Join(dir, "wasm"), int(s.Slots)))
	if s.OCIPrice > 0 {
		egress, err := compute.ParseEgress(s.Egress)
		if err != nil {
			return nil, nil, err
		}
		add(OpenOCI(filepath.Join(dir, "oci"), s.Images, egress...))
	}
	return list, lacks, err
}

// server returns the server of models that the settings name, nil for none.
func (s *Settings) server() (*ModelServer, error) {
	if s.ModelURL == "" {
		if len(s.Models) > 0 {
			return nil, fmt.Errorf("compute: settings: models: %q without a model_url", s.Models)
		}
		return nil, nil
	}
	prompt, completion := s.Prompt, s.Completion
	if prompt == 0 && completion == 0 {
		prompt, completion = 1, 4
	}
	m := &ModelServer{URL: s.ModelURL}
	var err error
	if m.Models, err = parseModels(s.Models, prompt, completion); err != nil {
		return nil, err
	}
	if m.Key, err = readKey(s.ModelKey); err != nil {
		return nil, err
	}
	_, err = newModels(*m)
	return m, err
}
