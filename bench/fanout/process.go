package fanout

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// childEnv, where it is set, makes a process a child.
const childEnv = "GODWIT_BENCH_FANOUT"

// The roles of the processes.
const (
	roleBare     = "bare"
	roleGodwit   = "godwit"
	roleReceiver = "receiver"
)

// job is what a child is told.
type job struct {
	Role       string
	Sessions   int
	Users      int
	Size       int
	Loops      int
	Group      bool
	CPUProfile string `json:",omitempty"`
	// For the receiver: where to connect to, and a token for each user.
	Addr   string   `json:",omitempty"`
	Tokens []string `json:",omitempty"`
}

// Child is the whole life of a process that Run has started; it returns false
// at once in any other. Call it before anything else, and return when it has
// returned true.
//
// A child reads its job from the first line of its standard input, as JSON, and
// orders from the others. It writes lines to its standard output: the welcome
// or "ready" when it is, then what its role says, or "error: …" before it exits.
// It ends when its standard input does.
func Child() bool {
	if os.Getenv(childEnv) == "" {
		return false
	}
	if err := work(bufio.NewReader(os.Stdin), os.Stdout); err != nil {
		fmt.Fprintln(os.Stdout, "error:", err)
		os.Exit(1)
	}
	return true
}

func work(in *bufio.Reader, out io.Writer) error {
	line, err := in.ReadBytes('\n')
	if err != nil {
		return err
	}
	var j job
	if err := json.Unmarshal(line, &j); err != nil {
		return err
	}
	switch j.Role {
	case roleGodwit:
		return serveGodwit(j, in, out)
	case roleBare:
		return serveBare(j, in, out)
	case roleReceiver:
		return receive(j, in, out)
	}
	return fmt.Errorf("no role %q", j.Role)
}

// child is a child as its parent sees it. Its methods belong to one goroutine.
type child struct {
	cmd   *exec.Cmd
	in    io.WriteCloser
	lines chan string // closed when its output ends
}

func start(ctx context.Context, j job) (*child, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	c := &child{cmd: exec.CommandContext(ctx, self), lines: make(chan string, 16)}
	c.cmd.Env = append(os.Environ(), childEnv+"=1")
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
		for r := bufio.NewReader(out); ; {
			line, err := r.ReadString('\n')
			if err != nil {
				return
			}
			select {
			case c.lines <- strings.TrimSpace(line):
			case <-ctx.Done():
				return
			}
		}
	}()
	if err := json.NewEncoder(c.in).Encode(j); err != nil {
		return nil, errors.Join(err, c.end())
	}
	return c, nil
}

// line is the child's next line.
func (c *child) line(ctx context.Context) (string, error) {
	patience := time.NewTimer(2 * time.Minute)
	defer patience.Stop()
	select {
	case l, ok := <-c.lines:
		if why, failed := strings.CutPrefix(l, "error: "); failed {
			return "", errors.New(why)
		}
		if !ok {
			return "", errors.New("the process ended")
		}
		return l, nil
	case <-patience.C:
		return "", errors.New("nothing happened for two minutes")
	case <-ctx.Done():
		return "", ctx.Err()
	}
}

// end returns when the child has ended by itself or been killed. Only the first
// call does something.
func (c *child) end() error {
	if c == nil || c.cmd.ProcessState != nil {
		return nil
	}
	_ = c.in.Close()
	for range c.lines { // Wait must not come before the end of the output
	}
	return c.cmd.Wait()
}

// side is a server and its receiver; nil while they weren't started.
type side struct {
	name     string
	server   *child
	receiver *child
	pair     *pair // beside Godwit's group
}

// start returns when all sessions are connected.
func (s *side) start(ctx context.Context, cfg Config) error {
	j := job{Role: s.name, Sessions: cfg.Sessions, Users: cfg.Users, Size: cfg.Size, Loops: cfg.Loops, Group: cfg.Group}
	if s.name == roleGodwit {
		j.CPUProfile = cfg.CPUProfile
	}
	var err error
	if s.server, err = start(ctx, j); err != nil {
		return err
	}
	hello, err := s.server.line(ctx)
	if err != nil {
		return err
	}
	j.Role = roleReceiver
	if err := json.Unmarshal([]byte(hello), &j); err != nil {
		return err
	}
	if s.receiver, err = start(ctx, j); err != nil {
		return err
	}
	if _, err = s.receiver.line(ctx); err != nil {
		return err
	}
	if cfg.Group && s.name == roleGodwit {
		s.pair, err = newPair(j.Addr, j.Tokens[j.Users:])
	}
	return err
}

// welcome is a server's first line.
type welcome struct {
	Addr   string
	Tokens []string
}

func (w welcome) write(out io.Writer) error { return json.NewEncoder(out).Encode(w) }

// round has a burst of messages pushed to every session and returns how long
// it took until the last of so many deliveries had arrived.
func (s *side) round(ctx context.Context, messages, deliveries int) (time.Duration, error) {
	began := time.Now()
	if _, err := fmt.Fprintln(s.receiver.in, deliveries); err != nil {
		return 0, err
	}
	if _, err := fmt.Fprintln(s.server.in, messages); err != nil {
		return 0, err
	}
	_, err := s.receiver.line(ctx)
	return time.Since(began), err
}

func (s *side) end() error {
	return errors.Join(s.pair.end(), s.server.end(), s.receiver.end())
}

// cpu is the processor time that the server has used.
func (s *side) cpu() (time.Duration, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", s.server.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	// Behind the name, in parentheses, come the fields from the third on; utime
	// and stime are the 14th and 15th, in ticks of 10 ms (proc(5); the kernel's
	// USER_HZ is 100 everywhere).
	_, rest, _ := strings.Cut(string(stat), ") ")
	fields := strings.Fields(rest)
	if len(fields) < 13 {
		return 0, errors.New("fanout: unreadable /proc/pid/stat")
	}
	var ticks int64
	for _, f := range fields[11:13] {
		n, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("fanout: /proc/pid/stat: %w", err)
		}
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond, nil
}

// orders calls do with each number on the standard input until it ends.
func orders(in io.Reader, do func(n int) error) error {
	scanner := bufio.NewScanner(in)
	for scanner.Scan() {
		n, err := strconv.Atoi(scanner.Text())
		if err != nil {
			return err
		}
		if err := do(n); err != nil {
			return err
		}
	}
	return scanner.Err()
}

// allowDescriptors raises the soft limit to n or says what to do.
func allowDescriptors(n int) error {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return err
	}
	if limit.Cur >= uint64(n) {
		return nil
	}
	if limit.Max < uint64(n) {
		return fmt.Errorf("%d descriptors are needed, the hard limit is %d; take fewer sessions or raise it", n, limit.Max)
	}
	limit.Cur = uint64(n)
	return syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit)
}
