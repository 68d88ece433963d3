package provider

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"syscall"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/internal/health"
	"github.com/cairn-network/cairn/service/role"
	"github.com/cairn-network/cairn/service/storage"
	"github.com/cairn-network/cairn/service/storage/provider/shardlog"
)

// Settings is what an owner sets of a storage device: the section "storage" of node.yaml.
type Settings struct {
	Listen   string `json:"listen" doc:"Where the transfer protocol is served, as host:port; :7440 is port 7440 of every address."`
	Address  string `json:"address" doc:"The host:port at which customers reach this device; \"\" where listen names a host that they reach. Proposed is this machine's address in its own network: behind a router, forward the port to it and put the router's public name or address here."`
	Capacity uint64 `json:"capacity_bytes" doc:"How much is held at most, in bytes."`
	KeepFree uint64 `json:"keep_free_bytes" doc:"How much of the disk is left to others, in bytes: below that nothing more is taken."`
	Price    uint64 `json:"price" doc:"What holding costs, in micro-credits ($0.000001) for each TiB and epoch."`
	Egress   uint64 `json:"egress_price" doc:"What reading costs, in micro-credits for each TiB."`
}

// Device is storage on a device.
func Device() role.Device {
	return role.Device{
		Category: types.Storage, Settings: Settings{}, Find: find, New: provide, Files: files,
		Example: "--offer storage --set storage.address=home.example.org:7440",
	}
}

func files(dir string) []health.File {
	files := shardlog.Files(filepath.Join(dir, shardFolder))
	for i := range files {
		files[i].Path = filepath.Join(shardFolder, files[i].Path)
	}
	return files
}

// keepFree is how much of a disk is left to others by default.
const keepFree = storage.KeepFree

// defaultPort is where the transfer protocol is served unless the owner says otherwise.
const defaultPort = "7440"

// ownAddress returns the address from which this machine would reach the world, "" if it has no way there.
// Nothing is sent: to connect a datagram socket only looks the route up. 192.0.2.1 and 2001:db8::1 are nobody's
// (RFC 5737, RFC 3849).
func ownAddress() string {
	for _, far := range []string{"192.0.2.1:9", "[2001:db8::1]:9"} {
		c, err := net.Dial("udp", far)
		if err != nil {
			continue
		}
		near := c.LocalAddr().(*net.UDPAddr).AddrPort().Addr()
		c.Close()
		if near.IsValid() && !near.IsUnspecified() && !near.IsLinkLocalUnicast() {
			return near.Unmap().String()
		}
	}
	return ""
}

// find proposes four fifths of what is free on the disk that would hold the shards, less what is left to
// others, and as address the one from which this machine reaches the world.
func find(_ context.Context, dir string) (json.RawMessage, string, error) {
	place := dir
	var disk syscall.Statfs_t
	for { // dir may not exist yet: its disk is that of the first parent that does
		err := syscall.Statfs(place, &disk)
		if err == nil {
			break
		}
		if !os.IsNotExist(err) || place == filepath.Dir(place) {
			return nil, "", fmt.Errorf("storage: look at the disk of %s: %w", dir, err)
		}
		place = filepath.Dir(place)
	}
	free, all := disk.Bavail*uint64(disk.Bsize), disk.Blocks*uint64(disk.Bsize)
	line := fmt.Sprintf("%d GiB of %d GiB free", free>>30, all>>30)
	if free < keepFree+1<<30 {
		return nil, line + ": too little", nil
	}
	address := ownAddress()
	if address != "" {
		address = net.JoinHostPort(address, defaultPort)
		line += ", customers reach it at " + address
	}
	offer, err := json.Marshal(&Settings{
		Listen: ":" + defaultPort, Address: address, Capacity: (free - keepFree) / 5 * 4 >> 30 << 30, KeepFree: keepFree, Price: storage.Reference, Egress: priceEgress,
	})
	return offer, line, err
}

// provide returns the provider that an offer describes.
func provide(offer json.RawMessage) (p role.Provider, err error) {
	var o Settings
	d := json.NewDecoder(bytes.NewReader(offer))
	d.DisallowUnknownFields()
	if err := d.Decode(&o); err != nil {
		return p, fmt.Errorf("storage: settings: %w", err)
	}
	for name, address := range map[string]string{"listen": o.Listen, "address": o.Address} {
		if _, _, err := net.SplitHostPort(address); address != "" && err != nil {
			return p, fmt.Errorf("storage: settings: %s %q: want host:port", name, address)
		}
	}
	if host, _, _ := net.SplitHostPort(o.Listen); o.Address == "" && host == "" {
		return p, fmt.Errorf("storage: settings: address: customers need to know where this device is: set it to host:port")
	}
	if o.Price >= storage.MaxPrice || o.Egress >= storage.MaxPrice {
		return p, fmt.Errorf("storage: settings: a price of %d, want below %d", max(o.Price, o.Egress), uint64(storage.MaxPrice))
	}
	return New(Config{Listen: o.Listen, Address: o.Address, Capacity: o.Capacity, KeepFree: o.KeepFree, Price: o.Price, Egress: o.Egress}).Role(), nil
}
