package main

import (
	"slices"
	"strings"
	"testing"
)

func TestArguments(t *testing.T) {
	for _, tc := range []struct {
		form, line string
		want       string // joined by |
		ok         bool
	}{
		{"", "", "", true},
		{"", " ", "", true},
		{"", "x", "", false},
		{"SEQ", "7", "7", true},
		{"SEQ", "", "", false},
		{"SEQ", "7 8", "7", false},
		{"SEQ TEXT", "7  two  words ", "7|two  words", true},
		{"SEQ TEXT", "7", "7", false},
		{"[NUMBER]", "", "", true},
		{"[NUMBER]", "5", "5", true},
		{"[NUMBER]", "5 6", "5", false},
		{"USER...", "a  b c", "a|b|c", true},
		{"USER...", "", "", false},
		{"ACTION USER [TEXT]", "add bob", "add|bob", true},
		{"ACTION USER [TEXT]", "add bob it is me", "add|bob|it is me", true},
		{"ACTION USER [TEXT]", "add", "add", false},
	} {
		args, ok := arguments(tc.form, tc.line)
		if got := strings.Join(args, "|"); got != tc.want || ok != tc.ok {
			t.Errorf("%q of %q: %q, %v; want %q, %v", tc.line, tc.form, got, ok, tc.want, tc.ok)
		}
	}
}

// The help names each command once, and its areas are told from its commands
// where both have a name.
func TestCommandNames(t *testing.T) {
	names := []string{"help", "quit"}
	for _, a := range areas() {
		for _, c := range a.commands {
			if slices.Contains(names, c.name) {
				t.Errorf("/%s is there twice", c.name)
			}
			if c.name == "" || c.help == "" || c.run == nil {
				t.Errorf("/%s is incomplete", c.name)
			}
			names = append(names, c.name)
		}
	}
}
