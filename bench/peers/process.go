package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"

	"github.com/godwit-im/godwit/bench/node"
)

// errClosed is what a client's owner is told of a connection that this side
// has closed.
var errClosed = errors.New("closed")

// closed words the end of a connection for an owner.
func closed(err error) error {
	switch {
	case err == nil:
		return errClosed
	case errors.Is(err, io.EOF):
		return errors.New("the server closed the connection")
	}
	return err
}

// child is a peer's process.
type child struct {
	cmd    *exec.Cmd
	log    string
	exited chan struct{} // closed when it is gone
}

// listens gives startChild the command of a peer, which is to listen at addr.
type listens func(addr netip.AddrPort) (*exec.Cmd, error)

// startChild starts a process with its output in dir/log and waits until it
// accepts connections.
func startChild(ctx context.Context, dir string, command listens) (*child, netip.AddrPort, error) {
	free, err := node.FreeAddr()
	if err != nil {
		return nil, netip.AddrPort{}, err
	}
	addr := netip.MustParseAddrPort(free)
	cmd, err := command(addr)
	if err != nil {
		return nil, netip.AddrPort{}, err
	}
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		return nil, netip.AddrPort{}, err
	}
	defer log.Close()
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		return nil, netip.AddrPort{}, err
	}
	c := &child{cmd: cmd, log: log.Name(), exited: make(chan struct{})}
	go func() {
		_ = cmd.Wait() // Kill looks at how it ended
		close(c.exited)
	}()
	if err := c.ready(ctx, addr); err != nil {
		return nil, netip.AddrPort{}, errors.Join(err, c.Kill())
	}
	return c, addr, nil
}

func (c *child) ready(ctx context.Context, addr netip.AddrPort) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	for {
		conn, err := net.Dial("tcp", addr.String())
		if err == nil {
			return conn.Close()
		}
		select {
		case <-c.exited:
			return fmt.Errorf("%s ended before it listened", c.cmd.Path)
		case <-ctx.Done():
			return fmt.Errorf("%s does not listen: %w", c.cmd.Path, ctx.Err())
		case <-ticker.C:
		}
	}
}

func (c *child) PID() int { return c.cmd.Process.Pid }

func (c *child) Kill() error {
	err := c.cmd.Process.Kill()
	<-c.exited
	if err != nil || c.cmd.ProcessState.Exited() {
		return fmt.Errorf("%s ended by itself: %v\n%s", c.cmd.Path, c.cmd.ProcessState, tail(c.log))
	}
	return nil
}

// tail is the end of a log.
func tail(file string) []byte {
	text, err := os.ReadFile(file)
	if err != nil {
		return []byte(err.Error())
	}
	return text[max(0, len(text)-2000):]
}

// residentBytes is a process's resident memory, see proc(5).
func residentBytes(pid int) (int64, error) {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/statm")
	if err != nil {
		return 0, err
	}
	fields := bytes.Fields(text)
	if len(fields) < 2 {
		return 0, fmt.Errorf("statm of process %d is %q", pid, text)
	}
	pages, err := strconv.ParseInt(string(fields[1]), 10, 64)
	return pages * int64(os.Getpagesize()), err
}
