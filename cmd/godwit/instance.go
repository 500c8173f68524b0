package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// instance is what a running server says about itself in a file of its data
// directory, so that the commands on the same machine find it. serve writes
// the file once it is ready and removes it when it ends in good order; one
// that was left by a crash is told apart by the process id.
type instance struct {
	PID    int    `json:"pid"`
	Listen string `json:"listen"`
	Admin  string `json:"admin"`
	// What a token must say to be accepted.
	Algorithm string `json:"algorithm"`
	Issuer    string `json:"issuer"`
	Audience  string `json:"audience"`
	Dev       bool   `json:"dev"`
	// Durability says in words when a message is acked.
	Durability string `json:"durability"`
	// Settings are the knobs that were set, as flags, without secrets.
	Settings []string `json:"settings,omitempty"`
}

// instanceFile is the path of the file in a data directory.
func instanceFile(data string) string { return filepath.Join(data, "server.json") }

// write replaces the file at path in one step, so that a reader finds all of
// it or none.
func (i instance) write(path string) error {
	text, err := json.MarshalIndent(i, "", "  ")
	if err != nil {
		return err
	}
	temp := fmt.Sprintf("%s.%d", path, i.PID)
	if err := os.WriteFile(temp, append(text, '\n'), 0o644); err != nil {
		return err
	}
	if err := os.Rename(temp, path); err != nil {
		return errors.Join(err, os.Remove(temp))
	}
	return nil
}

// readInstance reads the file at path; a missing one is fs.ErrNotExist.
func readInstance(path string) (instance, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return instance{}, err
	}
	var i instance
	if err := json.Unmarshal(text, &i); err != nil {
		return instance{}, fmt.Errorf("%s: %w", path, err)
	}
	return i, nil
}

// lookUp is readInstance of a data directory where no server needs to be.
func lookUp(data string) (i instance, found bool, err error) {
	i, err = readInstance(instanceFile(data))
	if errors.Is(err, fs.ErrNotExist) {
		return instance{}, false, nil
	}
	return i, err == nil, err
}
