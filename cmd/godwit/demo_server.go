package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// child is a server in a process of its own.
type child struct {
	instance
	cmd    *exec.Cmd
	exited chan struct{} // closed when the process has ended
}

// startChild runs our own binary, program being the name it was started by, as
// a development server on dir, and returns when it is ready. Its log goes to a
// file in dir.
func startChild(ctx context.Context, program, dir, listen string, more ...string) (*child, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, err
	}
	logPath := filepath.Join(dir, "server.log")
	log, err := os.OpenFile(logPath, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	c := &child{exited: make(chan struct{})}
	args := []string{"serve", "--dev", "--data", dir, "--listen", listen, "--admin", "127.0.0.1:0", "--min-free", "0"}
	c.cmd = exec.CommandContext(ctx, exe, append(args, more...)...)
	c.cmd.Args[0] = program
	c.cmd.Stderr = log
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, envPrefix) {
			c.cmd.Env = append(c.cmd.Env, v)
		}
	}
	stdout, err := c.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := c.cmd.Start(); err != nil {
		return nil, err
	}
	// The banner comes once the server is ready.
	banner := bufio.NewReader(stdout)
	_, silent := banner.ReadByte()
	go func() {
		defer close(c.exited)
		_, _ = io.Copy(io.Discard, banner) // ends with the process
		_ = c.cmd.Wait()                   // it is killed, so never ends well
	}()
	if silent == nil {
		c.instance, err = readInstance(instanceFile(dir))
		if err == nil {
			return c, nil
		}
		return nil, errors.Join(err, c.kill())
	}
	<-c.exited
	text, err := os.ReadFile(logPath)
	return nil, errors.Join(fmt.Errorf("the server did not start: %s", strings.TrimSpace(string(text))), err)
}

// kill ends the process with SIGKILL and waits until it is gone.
func (c *child) kill() error {
	err := c.cmd.Process.Kill()
	<-c.exited
	if errors.Is(err, os.ErrProcessDone) {
		return nil
	}
	return err
}
