package fanout

import (
	"context"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/panjf2000/gnet/v2"

	"github.com/godwit-im/godwit/bench/node"
	"github.com/godwit-im/godwit/netpoll"
	"github.com/godwit-im/godwit/protocol"
)

// bare is a gnet server that answers the first bytes of a connection and
// pushes what it is told to.
type bare struct {
	gnet.BuiltinEventEngine
	engine gnet.Engine
	booted chan struct{} // closed at the first tick: every loop listens

	mu    sync.Mutex // guards loops
	loops []*bareLoop
}

// bareLoop is an event loop with its connections, which belong to it.
type bareLoop struct {
	ev    gnet.EventLoop
	conns []gnet.Conn
}

func (b *bare) OnBoot(engine gnet.Engine) gnet.Action {
	b.engine = engine
	return gnet.None
}

func (b *bare) OnTick() (time.Duration, gnet.Action) {
	close(b.booted)
	return 1<<63 - 1, gnet.None // never again
}

func (b *bare) OnOpen(c gnet.Conn) ([]byte, gnet.Action) {
	b.mu.Lock()
	defer b.mu.Unlock()
	i := slices.IndexFunc(b.loops, func(l *bareLoop) bool { return l.ev == c.EventLoop() })
	if i < 0 {
		i = len(b.loops)
		b.loops = append(b.loops, &bareLoop{ev: c.EventLoop()})
	}
	b.loops[i].conns = append(b.loops[i].conns, c)
	return nil, gnet.None
}

func (b *bare) OnTraffic(c gnet.Conn) gnet.Action {
	_, _ = c.Next(-1)
	_, _ = c.Write(protocol.AppendHeader(nil, protocol.TypeConnected, 1, 0))
	return gnet.None
}

// push has every loop write the same bytes to each of its connections.
func (b *bare) push(frames []byte) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, l := range b.loops {
		err := l.ev.Execute(context.Background(), gnet.RunnableFunc(func(context.Context) error {
			for _, c := range l.conns {
				_, _ = c.Write(frames)
			}
			return nil
		}))
		if err != nil {
			return err
		}
	}
	return nil
}

// serveBare pushes, for every number on in, so many messages to all
// connections. Its options are those of netpoll.
func serveBare(j job, in io.Reader, out io.Writer) error {
	if err := allowDescriptors(j.Sessions + spare); err != nil {
		return err
	}
	addr, err := node.FreeAddr()
	if err != nil {
		return err
	}
	loops := j.Loops
	if loops == 0 {
		loops = runtime.GOMAXPROCS(0)
	}
	b := &bare{booted: make(chan struct{})}
	ended := make(chan error, 1) // gets one value: how gnet ended before it had booted, or after Stop
	go func() {
		ended <- gnet.Run(b, "tcp://"+addr,
			gnet.WithNumEventLoop(loops),
			gnet.WithReusePort(true),
			gnet.WithReuseAddr(true),
			gnet.WithTCPNoDelay(gnet.TCPNoDelay),
			gnet.WithSocketSendBuffer(netpoll.DefaultConfig().SendBuffer),
			gnet.WithTicker(true),
			gnet.WithLogger(quiet{}),
		)
	}()
	select {
	case <-b.booted:
	case err := <-ended:
		return err
	}
	defer func() {
		_ = b.engine.Stop(context.Background())
		if err := <-ended; err != nil {
			fmt.Fprintln(os.Stderr, "gnet:", err)
		}
	}()
	if err := (welcome{Addr: addr, Tokens: make([]string, j.Users)}).write(out); err != nil {
		return err
	}
	l := &log{body: make([]byte, j.Size)}
	return orders(in, func(n int) error {
		var frames []byte
		for range n {
			_, frame := l.next()
			frames = append(frames, frame...)
		}
		return b.push(frames)
	})
}

// quiet keeps gnet from the standard output, which is the parent's, and passes
// on only what went wrong.
type quiet struct{}

func (quiet) Debugf(string, ...any) {}
func (quiet) Infof(string, ...any)  {}
func (quiet) Warnf(string, ...any)  {}

func (quiet) Errorf(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "gnet: "+format+"\n", args...)
}

func (quiet) Fatalf(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "gnet: "+format+"\n", args...)
}
