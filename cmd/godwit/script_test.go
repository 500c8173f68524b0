package main

import (
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/godwit-im/godwit/bench/node"
	"github.com/godwit-im/godwit/desk"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"godwit": main})
}

// TestScript runs the scripts of testdata/script. Beyond testscript's own
// commands they have
//
//	ready DIR           wait until the server on a data directory is ready, and
//	                    put its addresses into $SERVER and $ADMIN
//	exits CODE CMD ...  run a command that must end with this exit code
//	visit ADDR FILE     have a visitor come to the desk on an address as soon as it
//	                    is open, and put their token into a file and the visit's
//	                    group into $VISIT
//	capture VAR REGEXP  put what the first group of REGEXP matches in the output of
//	                    the last command into $VAR
//	term DIR            send SIGTERM to the server on a data directory
func TestScript(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			env.Setenv("XDG_STATE_HOME", filepath.Join(env.WorkDir, "state"))
			env.Setenv("NO_COLOR", "1")
			// The guard has a test of its own, and machines that run tests are
			// often short of disk.
			env.Setenv("GODWIT_MIN_FREE", "0")
			// Under the race detector every process sleeps a second at its end.
			env.Setenv("GORACE", "atexit_sleep_ms=10")
			addr, err := node.FreeAddr()
			env.Setenv("DESK", addr) // for a desk
			return err
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"ready": ready, "exits": exits, "visit": visit, "capture": capture, "term": terminate,
		},
	})
}

// scriptLimit is how long a server may take to start.
const scriptLimit = time.Minute

func ready(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: ready DIR")
	}
	// Another process writes the file: there is nothing to wait on but time.
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	limit := time.After(scriptLimit)
	for {
		i, found, err := lookUp(ts.MkAbs(args[0]))
		ts.Check(err)
		if found {
			ts.Setenv("SERVER", i.Listen)
			ts.Setenv("ADMIN", i.Admin)
			return
		}
		select {
		case <-tick.C:
		case <-limit:
			ts.Fatalf("the server on %s is not ready after %v", args[0], scriptLimit)
		}
	}
}

func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE COMMAND [ARG...]")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		var exit *exec.ExitError
		if !errors.As(err, &exit) {
			ts.Fatalf("%v", err)
		}
		got = exit.ExitCode()
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

func visit(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: visit ADDR FILE")
	}
	tick := time.NewTicker(5 * time.Millisecond) // as in ready
	defer tick.Stop()
	limit := time.After(scriptLimit)
	for {
		resp, err := http.Post("http://"+args[0]+"/visit", "", nil)
		if err == nil {
			var v desk.Visit
			err = json.NewDecoder(resp.Body).Decode(&v)
			ts.Check(errors.Join(err, resp.Body.Close()))
			ts.Check(os.WriteFile(ts.MkAbs(args[1]), []byte(v.Token), 0o600))
			ts.Setenv("VISIT", v.Conversation)
			return
		}
		select {
		case <-tick.C:
		case <-limit:
			ts.Fatalf("the desk on %s is not open after %v: %v", args[0], scriptLimit, err)
		}
	}
}

func capture(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: capture VAR REGEXP")
	}
	re, err := regexp.Compile(args[1])
	ts.Check(err)
	found := re.FindStringSubmatch(ts.ReadFile("stdout"))
	if len(found) < 2 {
		ts.Fatalf("nothing matches %s", args[1])
	}
	ts.Setenv(args[0], found[1])
}

func terminate(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: term DIR")
	}
	i, found, err := lookUp(ts.MkAbs(args[0]))
	ts.Check(err)
	if !found {
		ts.Fatalf("no server runs on %s", args[0])
	}
	p, err := os.FindProcess(i.PID)
	ts.Check(err)
	ts.Check(p.Signal(syscall.SIGTERM))
}
