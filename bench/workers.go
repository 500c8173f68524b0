package bench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/rpc"
	"net/rpc/jsonrpc"
	"os"
	"os/exec"
	"time"

	"github.com/godwit-im/godwit/bench/client"
	"github.com/godwit-im/godwit/bench/fleet"
	"github.com/godwit-im/godwit/bench/report"
)

// A run of Direct or Connect is led by one goroutine and carried out by
// workers, each with its share of the users: one in this process, or several
// processes. Both are led by JSON-RPC, so that there is one way of doing it.

// workers are those of one run.
type workers struct {
	clients []*rpc.Client
	pids    []int
	stops   []func()
}

// processesFor is how many processes it takes to hold so many connections.
func (t *Target) processesFor(connections int) (int, error) {
	limit, err := fleet.FileLimit()
	if err != nil {
		return 0, err
	}
	each := limit - spareFiles
	n := max(1, (connections+each-1)/each)
	if n > 1 && t.Worker == nil {
		return 0, fmt.Errorf("bench: %d connections are more than this process may open (the hard limit of open files is %d)", connections, limit)
	}
	return n, nil
}

// startWorkers starts n processes, or, for 1, has this one be the worker.
// They end with ctx or stop.
func (t *Target) startWorkers(ctx context.Context, n int) (*workers, error) {
	w := &workers{}
	if n == 1 {
		ours, its := net.Pipe()
		served := make(chan struct{})
		go func() {
			defer close(served)
			_ = ServeWorker(ctx, *t, its) // what goes wrong is the answer to a call
		}()
		client := jsonrpc.NewClient(ours)
		w.add(client, os.Getpid(), func() {
			_ = client.Close()
			<-served
		})
		return w, nil
	}
	if t.Worker == nil {
		return nil, errors.New("bench: this target has no other processes")
	}
	for range n {
		if err := w.start(t.Worker(ctx)); err != nil {
			w.stop()
			return nil, err
		}
	}
	return w, nil
}

func (w *workers) add(client *rpc.Client, pid int, stop func()) {
	w.clients = append(w.clients, client)
	w.pids = append(w.pids, pid)
	w.stops = append(w.stops, stop)
}

// start starts a process. It ends when its standard input does, and so with
// this process too.
func (w *workers) start(cmd *exec.Cmd) error {
	in, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	var said bytes.Buffer
	cmd.Stderr = &said
	cmd.WaitDelay = 5 * time.Second
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("bench: starting a process of the load: %w", err)
	}
	client := jsonrpc.NewClient(pipes{out, in})
	w.add(client, cmd.Process.Pid, func() {
		_ = client.Close() // a process that is gone has closed it already
		_ = cmd.Wait()
		if said.Len() > 0 {
			fmt.Fprintf(os.Stderr, "a process of the load said: %s\n", bytes.TrimSpace(said.Bytes()))
		}
	})
	return nil
}

// stop ends the workers and waits until they are gone.
func (w *workers) stop() {
	for _, stop := range w.stops {
		stop()
	}
}

// pipes is the connection to a child process.
type pipes struct {
	io.ReadCloser
	io.WriteCloser
}

func (p pipes) Close() error { return errors.Join(p.WriteCloser.Close(), p.ReadCloser.Close()) }

// call calls a method of every worker at once, each with its own arguments, and
// returns their answers. The first error, or the end of ctx, ends it.
func call[Reply any](ctx context.Context, w *workers, method string, args func(i int) any) ([]Reply, error) {
	replies := make([]Reply, len(w.clients))
	done := make(chan *rpc.Call, len(w.clients))
	for i, client := range w.clients {
		client.Go(method, args(i), &replies[i], done)
	}
	for range w.clients {
		select {
		case c := <-done:
			if c.Error != nil {
				return nil, fmt.Errorf("bench: %w", c.Error)
			}
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
	return replies, nil
}

func noArgs(int) any { return struct{}{} }

// ServeWorker does what the process that leads the run asks for over conn,
// until it closes it or ctx ends.
func ServeWorker(ctx context.Context, t Target, conn io.ReadWriteCloser) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	direct, connect := &DirectWorker{ctx: ctx, target: t}, &ConnectWorker{ctx: ctx, target: t}
	defer direct.close()
	defer connect.close()
	server := rpc.NewServer()
	if err := errors.Join(server.RegisterName("Direct", direct), server.RegisterName("Connect", connect)); err != nil {
		return err
	}
	server.ServeCodec(jsonrpc.NewServerCodec(conn))
	return nil
}

// Stdio is this process's standard input and output, for ServeWorker.
func Stdio() io.ReadWriteCloser { return pipes{os.Stdin, os.Stdout} }

// Sample is what a worker has seen. The counts are since its start; the
// latencies, encoded by report.Histogram, since the last Sample.
type Sample struct {
	Connected, Refused             int64
	Sent, Acked, Delivered, Pulled int64
	// Counted are the deliveries that fell into the time that is measured, of
	// the step under way, and Unsent the messages that were due in it and
	// found no room in the window.
	Counted, Unsent          int64
	Handshake, Ack, Delivery []byte
	// Violations is what the server broke. There is no going on after one.
	Violations []string
}

// failed tells of a failure: of a broken promise in the sample, else by the
// error.
func (s *Sample) failed(err error) error {
	var v *client.Violation
	if errors.As(err, &v) {
		s.Violations = []string{err.Error()}
		return nil
	}
	return err
}

// drain empties a histogram into a sample.
func drain(h *report.Histogram, into *[]byte) (err error) {
	*into, err = h.Drain()
	return err
}

// sum adds up the counts of the workers and merges their latencies into the
// histograms that are not nil.
func sum(samples []Sample, handshake, ack, delivery *report.Histogram) (all Sample, err error) {
	for _, s := range samples {
		all.Connected += s.Connected
		all.Refused += s.Refused
		all.Sent += s.Sent
		all.Acked += s.Acked
		all.Delivered += s.Delivered
		all.Pulled += s.Pulled
		all.Counted += s.Counted
		all.Unsent += s.Unsent
		all.Violations = append(all.Violations, s.Violations...)
		for h, drained := range map[*report.Histogram][]byte{handshake: s.Handshake, ack: s.Ack, delivery: s.Delivery} {
			if h != nil && len(drained) > 0 {
				err = errors.Join(err, h.Merge(drained))
			}
		}
	}
	return all, err
}
