package ceiling

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"runtime/pprof"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// childEnv makes a process a child: its job as JSON.
const childEnv = "GODWIT_BENCH_CEILING"

// patience is how long a child may take to answer.
const patience = 2 * time.Minute

// job is what a child is told.
type job struct {
	Role  string
	Loops int
	// CPUProfile is a file to write.
	CPUProfile string `json:",omitempty"`
	// Tail is how much longer a MESSAGE is than its SEND, in bytes; for the
	// relay.
	Tail int `json:",omitempty"`
	// Dir is where a relay that stores has its database.
	Dir string `json:",omitempty"`
	// Log is what is pulled from.
	Log logConfig `json:"log,omitzero"`
}

// usage is what a child has done since it began.
type usage struct {
	CPU    time.Duration
	Frames uint64 // that came
}

// Child is the whole life of a process that this package has started; it
// returns false at once in any other. Call it before anything else, and return
// when it has returned true.
//
// A child writes the address on which it serves to its standard output, then
// its usage for every line on its standard input, or "error: …" before it
// exits. It ends when its standard input does.
func Child() bool {
	text, ok := os.LookupEnv(childEnv)
	if !ok {
		return false
	}
	var j job
	err := json.Unmarshal([]byte(text), &j)
	if err == nil {
		err = profiled(j.CPUProfile, func() error { return serve(j, os.Stdin, os.Stdout) })
	}
	if err != nil {
		fmt.Fprintln(os.Stdout, "error:", err)
		os.Exit(1)
	}
	return true
}

func profiled(path string, f func() error) error {
	if path == "" {
		return f()
	}
	out, err := os.Create(path)
	if err != nil {
		return err
	}
	if err := pprof.StartCPUProfile(out); err != nil {
		return errors.Join(err, out.Close())
	}
	err = f()
	pprof.StopCPUProfile()
	return errors.Join(err, out.Close())
}

// child is a child as its parent sees it. Its methods belong to one goroutine.
type child struct {
	cmd   *exec.Cmd
	in    io.WriteCloser
	lines chan string // closed when its output ends
	addr  netip.AddrPort
}

// start returns when the child serves. The end of ctx kills it.
func start(ctx context.Context, j job) (*child, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	text, err := json.Marshal(j)
	if err != nil {
		return nil, err
	}
	c := &child{cmd: exec.CommandContext(ctx, self), lines: make(chan string, 1)}
	c.cmd.Env = append(os.Environ(), childEnv+"="+string(text))
	c.cmd.Stderr = os.Stderr
	if c.in, err = c.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := c.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		defer close(c.lines)
		for scanner := bufio.NewScanner(out); scanner.Scan(); {
			c.lines <- scanner.Text()
		}
	}()
	hello, err := c.line(ctx)
	if err == nil {
		c.addr, err = netip.ParseAddrPort(hello)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("ceiling: %s: %w", j.Role, err), c.end())
	}
	return c, nil
}

// line is the child's next line.
func (c *child) line(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("no answer for %v", patience))
	defer cancel()
	select {
	case l, ok := <-c.lines:
		if why, failed := strings.CutPrefix(l, "error: "); failed {
			return "", errors.New(why)
		}
		if !ok {
			return "", errors.New("the process ended")
		}
		return l, nil
	case <-ctx.Done():
		return "", context.Cause(ctx)
	}
}

// usage asks the child.
func (c *child) usage(ctx context.Context) (u usage, err error) {
	if _, err := fmt.Fprintln(c.in); err != nil {
		return u, err
	}
	l, err := c.line(ctx)
	if err != nil {
		return u, err
	}
	return u, json.Unmarshal([]byte(l), &u)
}

// end ends the child and waits for it.
func (c *child) end() error {
	_ = c.in.Close()
	kill := time.AfterFunc(patience, func() { _ = c.cmd.Process.Kill() })
	defer kill.Stop()
	for range c.lines { // Wait must not come before the end of the output
	}
	return c.cmd.Wait()
}

// ownCPU is the processor time that this process has used.
func ownCPU() (time.Duration, error) {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		return 0, os.NewSyscallError("getrusage", err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()), nil
}
