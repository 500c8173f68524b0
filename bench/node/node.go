// Package node runs the godwit binary as a child process, for tests that need
// a real one to kill, to measure or to build differently.
package node

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// Build is how to build the binary.
type Build struct {
	// Race builds with the race detector.
	Race bool
	// Replace maps source files to what the compiler reads in their place, by
	// absolute paths: how a test builds a server with a defect.
	Replace map[string]string
}

// To builds the binary into the file out. The working directory must be in
// the module.
func (b Build) To(ctx context.Context, out string) error {
	args := []string{"build", "-buildvcs=false", "-o", out}
	if b.Race {
		args = append(args, "-race")
	}
	if b.Replace != nil {
		overlay, err := json.Marshal(map[string]any{"Replace": b.Replace})
		if err != nil {
			return err
		}
		file := out + ".overlay.json"
		if err := os.WriteFile(file, overlay, 0o644); err != nil {
			return err
		}
		args = append(args, "-overlay", file)
	}
	cmd := exec.CommandContext(ctx, "go", append(args, "github.com/godwit-im/godwit/cmd/godwit")...)
	if text, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go build: %w\n%s", err, text)
	}
	return nil
}

// Config describes a server process.
type Config struct {
	Binary string
	// Dir is the data directory; it survives the process.
	Dir string
	// Addr is where it listens for clients. FreeAddr finds one.
	Addr string
	// Args are further arguments of godwit serve.
	Args []string
	// Env are variables, NAME=value, beside those of this process.
	Env []string
	// Log receives the process's output; nil discards it. It must cope with
	// several processes if it is used for several.
	Log io.Writer
}

// Node is a running server process. One goroutine at a time may use it.
type Node struct {
	cmd    *exec.Cmd
	ready  string // the file that the server writes when it is
	admin  string
	exited chan struct{} // closed when the process is gone and err is set
	err    error
}

// instance is the part of the server's ready file that is needed here.
type instance struct {
	PID   int    `json:"pid"`
	Admin string `json:"admin"`
}

// Start starts a server with a development key and does not wait for it.
func Start(cfg Config) (*Node, error) {
	args := append([]string{"serve", "--dev", "--data", cfg.Dir, "--listen", cfg.Addr, "--admin", "127.0.0.1:0"}, cfg.Args...)
	n := &Node{
		cmd:    exec.Command(cfg.Binary, args...),
		ready:  filepath.Join(cfg.Dir, "server.json"),
		exited: make(chan struct{}),
	}
	n.cmd.Env = append(n.cmd.Environ(), cfg.Env...)
	n.cmd.Stdout, n.cmd.Stderr = cfg.Log, cfg.Log
	if err := n.cmd.Start(); err != nil {
		return nil, fmt.Errorf("node: %w", err)
	}
	go func() {
		n.err = n.cmd.Wait()
		close(n.exited)
	}()
	return n, nil
}

// Ready waits until the server serves clients. It fails when the process ends
// before.
func (n *Node) Ready(ctx context.Context) error {
	ticker := time.NewTicker(2 * time.Millisecond)
	defer ticker.Stop()
	for {
		// The file may still be that of a process before this one.
		var self instance
		text, err := os.ReadFile(n.ready)
		if err == nil && json.Unmarshal(text, &self) == nil && self.PID == n.PID() {
			n.admin = self.Admin
			return nil
		}
		select {
		case <-n.exited:
			return fmt.Errorf("node: the server ended before it was ready: %w", n.exit())
		case <-ctx.Done():
			return fmt.Errorf("node: the server is not ready: %w", ctx.Err())
		case <-ticker.C:
		}
	}
}

// PID is the process's id.
func (n *Node) PID() int { return n.cmd.Process.Pid }

// AdminURL is the admin listener's; valid after Ready.
func (n *Node) AdminURL() string { return "http://" + n.admin }

// Kill ends the process with SIGKILL and waits until it is gone. It is an
// error if the process had ended by itself.
func (n *Node) Kill() error {
	err := n.cmd.Process.Kill()
	<-n.exited
	if err != nil || n.cmd.ProcessState.Exited() {
		return fmt.Errorf("node: the server ended by itself: %w", n.exit())
	}
	return nil
}

// Stop asks the process to end and waits until it has; when ctx ends first it
// is killed.
func (n *Node) Stop(ctx context.Context) error {
	if err := n.cmd.Process.Signal(os.Interrupt); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case <-n.exited:
		return n.err
	case <-ctx.Done():
		return errors.Join(ctx.Err(), n.Kill())
	}
}

// exit is how a process that is gone ended.
func (n *Node) exit() error {
	if n.err == nil {
		return errors.New("exit status 0")
	}
	return n.err
}

// Token has the binary sign a token for user with dir's development key, which
// a server has made when it was ready for the first time.
func Token(ctx context.Context, binary, dir, user string) (string, error) {
	var stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, binary, "token", "--data", dir, "--user", user)
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("godwit token: %w: %s", err, &stderr)
	}
	return strings.TrimSpace(string(out)), nil
}

// FreeAddr finds a port on 127.0.0.1 that a server can give up and take again.
// It is below those that the kernel hands out to outgoing connections: with
// one of these, a client that dials while the server is down could get the
// port, or even connect to itself. No other process gets it from FreeAddr while
// this one lives: that costs a descriptor. Any goroutine may call it.
func FreeAddr() (string, error) {
	var last error
	for range 100 {
		addr := fmt.Sprintf("127.0.0.1:%d", 20000+rand.N(10000))
		if last = reserve(addr); last == nil {
			return addr, nil
		}
	}
	return "", fmt.Errorf("node: no free port: %w", last)
}

// given are UDP sockets, which nobody sends to: one of the number of each port
// that FreeAddr gave. Whoever has that one has the port, from before a server
// listens on it and while it is down.
var given struct {
	sync.Mutex // guards sockets
	sockets    []net.PacketConn
}

func reserve(addr string) error {
	socket, err := net.ListenPacket("udp", addr)
	if err != nil {
		return err
	}
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		return errors.Join(err, socket.Close())
	}
	given.Lock()
	defer given.Unlock()
	given.sockets = append(given.sockets, socket)
	return ln.Close()
}
