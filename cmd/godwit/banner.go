package main

import (
	"fmt"
	"path/filepath"
	"strings"

	"github.com/godwit-im/godwit/msgstore"
)

// banner says what is running and what to do next, in lines that can be pasted
// into another terminal.
func banner(s *settings, self instance, program string) string {
	var b strings.Builder
	build := readBuild()
	fmt.Fprintf(&b, "\nGodwit %s", build.version)
	if len(build.commit) > 7 && build.commit != "unknown" {
		fmt.Fprintf(&b, " (%.7s)", build.commit)
	}
	if self.Dev {
		b.WriteString(", development mode")
	}
	b.WriteString("\n\n")
	line := func(name, format string, args ...any) {
		fmt.Fprintf(&b, "  %-11s %s\n", name, fmt.Sprintf(format, args...))
	}
	data := s.data
	if abs, err := filepath.Abs(data); err == nil {
		data = abs
	}
	line("clients", "%s (Godwit's protocol over TCP)", self.Listen)
	line("admin", "http://%s (/healthz /readyz /metrics)", self.Admin)
	line("data", "%s", data)
	if s.server.Store.Durability == msgstore.Interval {
		line("durability", "interval: a crash may lose the last %v of acknowledged messages", s.server.Store.SyncInterval)
	} else {
		line("durability", "sync: a message is on disk before it is acknowledged")
	}
	line("tokens", "%s, issuer %q, audience %q", self.Algorithm, self.Issuer, self.Audience)
	if !self.Dev {
		fmt.Fprintf(&b, "\nSee that it is ready:\n\n  curl http://%s/readyz\n\n", self.Admin)
		return b.String()
	}
	where := ""
	if filepath.Clean(s.data) != filepath.Clean(defaultData) {
		where = " --data " + quote(s.data)
	}
	fmt.Fprintf(&b, "\nChat, each line in a terminal of its own:\n\n")
	fmt.Fprintf(&b, "  %s chat%s --user alice --to bob\n", quote(program), where)
	fmt.Fprintf(&b, "  %s chat%s --user bob --to alice\n\n", quote(program), where)
	return b.String()
}

// quote makes one word of s for a POSIX shell.
func quote(s string) string {
	plain := func(r rune) bool {
		return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || strings.ContainsRune("_-./:@%+=,~", r)
	}
	if s != "" && strings.IndexFunc(s, func(r rune) bool { return !plain(r) }) < 0 {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
