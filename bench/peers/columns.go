package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
)

// column is a peer in one configuration.
type column struct {
	Name    string `json:"name"`
	Version string `json:"version"`
	// Durability says when a message is on disk, and what of the receiver's
	// position is.
	Durability string `json:"durability"`

	start func(ctx context.Context, dir string) (*server, error)
	// idle has the memory of idle sessions measured: once for each peer.
	idle bool
}

// columns returns all of them; the first is what the others are compared to.
// godwit is its binary, here the version of that.
func columns(godwit, here string) []column {
	natsVersion := moduleVersion("github.com/nats-io/nats-server/v2")
	mochiVersion := moduleVersion("github.com/mochi-mqtt/server/v2")
	return []column{
		{
			Name: "godwit", Version: here, start: startGodwit(godwit, "sync"), idle: true,
			Durability: "a message is synced to disk before its SENT; the receiver's position is its own affair",
		}, {
			Name: "godwit-interval", Version: here, start: startGodwit(godwit, "interval"),
			Durability: "a message is written before its SENT and synced within the sync-interval (default)",
		}, {
			Name: "mosquitto", Version: mosquittoVersion(), start: startMosquitto("autosave_interval 1800\n"), idle: true,
			Durability: "memory; a snapshot of everything every 30 minutes (default): an acknowledged message is not on disk",
		}, {
			Name: "mosquitto-save", Version: mosquittoVersion(), start: startMosquitto("autosave_on_changes true\nautosave_interval 1\n"),
			Durability: "memory; a snapshot of everything after each turn of its loop that changed something; PUBACK does not wait for it",
		}, {
			Name: "jetstream", Version: natsVersion, idle: true, start: jetStream{settings: "sync_interval: always", streams: 16}.start(),
			Durability: "a message is synced to disk before its PubAck; the consumers' acknowledgements are in memory; 16 streams",
		}, {
			Name: "jetstream-files", Version: natsVersion, start: jetStream{settings: "sync_interval: always", streams: 16, consumersInFiles: true}.start(),
			Durability: "as jetstream, and each consumer's acknowledgements in a file, up to ten times a second; 16 streams",
		}, {
			Name: "jetstream-default", Version: natsVersion, start: jetStream{streams: 1}.start(),
			Durability: "a message is written before its PubAck and synced every 2 minutes (default); acknowledgements in memory; 1 stream",
		}, {
			Name: "mochi", Version: mochiVersion, start: startMochi("Sync"), idle: true,
			Durability: "Pebble hook, synced; PUBACK comes before the message is stored for its receiver, who gets it after",
		}, {
			Name: "mochi-nosync", Version: mochiVersion, start: startMochi("NoSync"),
			Durability: "Pebble hook, written but not synced (default); PUBACK comes before",
		},
	}
}

// choose returns the columns that are named, and the first in any case. Names
// of none are an error.
func choose(all []column, names []string) ([]column, error) {
	if len(names) == 0 {
		return all, nil
	}
	chosen := all[:1:1]
	for _, name := range names {
		i := slices.IndexFunc(all, func(c column) bool { return c.Name == name })
		if i < 0 {
			return nil, fmt.Errorf("there is no %q; there are %s", name, strings.Join(columnNames(all), ", "))
		}
		if i > 0 {
			chosen = append(chosen, all[i])
		}
	}
	return chosen, nil
}

func columnNames(all []column) (names []string) {
	for _, c := range all {
		names = append(names, c.Name)
	}
	return names
}

// sourceDir is the directory of the module that this one is part of.
func sourceDir(ctx context.Context) (string, error) {
	out, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", "github.com/godwit-im/godwit").Output()
	if err != nil {
		return "", fmt.Errorf("go list: %w: run it in bench/peers, or give --godwit", err)
	}
	return strings.TrimSpace(string(out)), nil
}

// buildGodwit builds the binary of this source tree into dir. The build is
// that module's own: this one has other versions of what both depend on.
func buildGodwit(ctx context.Context, dir string) (string, error) {
	source, err := sourceDir(ctx)
	if err != nil {
		return "", err
	}
	out := filepath.Join(dir, "godwit")
	cmd := exec.CommandContext(ctx, "go", "build", "-buildvcs=false", "-o", out, "./cmd/godwit")
	cmd.Dir = source
	if text, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build: %w\n%s", err, text)
	}
	return out, nil
}

func sourceVersion() string {
	out, err := exec.Command("git", "describe", "--always", "--dirty").Output()
	if err != nil {
		return "this source"
	}
	return strings.TrimSpace(string(out))
}

func moduleVersion(path string) string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	for _, dep := range info.Deps {
		if dep.Path == path {
			return dep.Version
		}
	}
	return ""
}

// mosquittoVersion is from the first line of its help, "mosquitto version
// 2.0.11"; "" where it is missing, which start will say.
func mosquittoVersion() string {
	binary, err := lookMosquitto()
	if err != nil {
		return ""
	}
	out, _ := exec.Command(binary, "-h").Output() // it exits with a failure
	line, _, _ := bytes.Cut(out, []byte("\n"))
	return string(bytes.TrimPrefix(bytes.TrimSpace(line), []byte("mosquitto version ")))
}

// withServer starts a column's server on a directory of its own below base,
// and ends it afterwards.
func (c column) withServer(ctx context.Context, base string, use func(*server) error) (err error) {
	dir, err := os.MkdirTemp(base, c.Name+"-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }() // what stays is in a directory for such things
	s, err := c.start(ctx, dir)
	if err != nil {
		return err
	}
	defer func() {
		if e := s.Kill(); err == nil {
			err = e
		}
	}()
	return use(s)
}
