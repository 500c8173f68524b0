package main

import (
	"bytes"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/godwit-im/godwit/msgstore"
)

// eventually polls what another process shows of itself.
func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	limit := time.After(time.Minute)
	for !done() {
		select {
		case <-tick.C:
		case <-limit:
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

// The first signal waits for what is under way, here a request to the admin
// listener. The second does not.
func TestSecondSignalEndsAtOnce(t *testing.T) {
	dir := t.TempDir()
	server, err := startChild(t.Context(), "godwit", dir, "127.0.0.1:0", "--pprof")
	if err != nil {
		t.Fatal(err)
	}
	defer server.kill()
	get := func(path string) []byte {
		resp, err := http.Get("http://" + server.Admin + path)
		if err != nil {
			return nil
		}
		defer resp.Body.Close()
		text, _ := io.ReadAll(resp.Body) // cut short when the server ends
		return text
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		get("/debug/pprof/profile?seconds=25")
	}()
	eventually(t, "the profile to begin", func() bool {
		return bytes.Contains(get("/debug/pprof/goroutine?debug=1"), []byte("net/http/pprof.Profile+"))
	})
	if err := server.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the log to tell of the signal", func() bool {
		text, err := os.ReadFile(filepath.Join(dir, "server.log"))
		return err == nil && bytes.Contains(text, []byte("stopping"))
	})
	select {
	case <-server.exited:
		t.Fatal("the server did not wait for the request")
	default:
	}
	if err := server.cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	<-server.exited
	<-done
	status := server.cmd.ProcessState.Sys().(syscall.WaitStatus)
	if !status.Signaled() || status.Signal() != syscall.SIGINT {
		t.Errorf("the server ended with %v, want it to die of the second signal", server.cmd.ProcessState)
	}
}

func TestBanner(t *testing.T) {
	s := newSettings()
	self := instance{Listen: "127.0.0.1:7410", Admin: "127.0.0.1:7411", Algorithm: "EdDSA", Dev: true}
	if text := banner(s, self, "./bin/godwit"); !strings.Contains(text, "  ./bin/godwit chat --user alice --to bob\n") {
		t.Errorf("the default directory needs no --data:\n%s", text)
	}
	s.data = "it's here"
	s.server.Store.Durability = msgstore.Interval
	text := banner(s, self, "godwit")
	for _, want := range []string{
		`godwit chat --data 'it'\''s here' --user alice --to bob`,
		"interval: a crash may lose the last 200ms of acknowledged messages",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
}
