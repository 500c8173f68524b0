package fanout

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
)

// peer is a session as its receiver sees it. One reader owns it.
type peer struct {
	fd      int
	seq     uint64 // of the last message
	partial []byte // the beginning of an incomplete frame
}

// receiver counts what arrives at its readers.
type receiver struct {
	size   int
	left   atomic.Int64 // deliveries until the round is over
	over   chan struct{}
	opened sync.WaitGroup // a count for each peer that isn't connected yet
}

// receive connects j.Sessions sessions, writes "ready", and then, for every
// number on in, a line when so many deliveries have arrived.
func receive(j job, in io.Reader, out io.Writer) error {
	if err := allowDescriptors(j.Sessions + spare); err != nil {
		return err
	}
	r := &receiver{size: j.Size, over: make(chan struct{}, 1)}
	r.opened.Add(j.Sessions)
	failed := make(chan error, 1)
	for i := range runtime.GOMAXPROCS(0) {
		go func() { failed <- r.read(j, i) }()
	}
	opened := make(chan struct{})
	go func() { r.opened.Wait(); close(opened) }()
	select {
	case <-opened:
	case err := <-failed:
		return err
	case <-time.After(time.Minute):
		return errors.New("the sessions were not connected within a minute")
	}
	fmt.Fprintln(out, "ready")
	return orders(in, func(n int) error {
		if r.left.Add(int64(n)) == 0 {
			r.over <- struct{}{} // all had arrived before the order did
		}
		select {
		case <-r.over:
		case err := <-failed:
			return err
		}
		_, err := fmt.Fprintln(out, "received")
		return err
	})
}

// read connects one reader's share of the sessions, every GOMAXPROCSth from
// the first on, and reads from them for good.
func (r *receiver) read(j job, first int) error {
	poll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return err
	}
	to, err := netip.ParseAddrPort(j.Addr)
	if err != nil {
		return err
	}
	var peers []*peer
	for i := first; i < j.Sessions; i += runtime.GOMAXPROCS(0) {
		hello := protocol.AppendProto(nil, protocol.TypeConnect, 1, &pb.Connect{
			MinVersion: protocol.Version, MaxVersion: protocol.Version, Token: j.Tokens[i%j.Users],
			Device: fmt.Sprintf("device-%06d", i/j.Users), Platform: "bench", Client: "bench",
		})
		p, err := dial(to, i, hello)
		if err != nil {
			return fmt.Errorf("connecting session %d: %w", i, err)
		}
		event := unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(len(peers))}
		if err := unix.EpollCtl(poll, unix.EPOLL_CTL_ADD, p.fd, &event); err != nil {
			return err
		}
		peers = append(peers, p)
	}
	events := make([]unix.EpollEvent, 512)
	buf := make([]byte, 256<<10)
	for {
		n, err := unix.EpollWait(poll, events, -1)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return err
		}
		for _, e := range events[:max(n, 0)] {
			p := peers[e.Fd]
			n, err := unix.Read(p.fd, buf)
			if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR) {
				continue
			}
			if err != nil {
				return err
			}
			if n == 0 {
				return errors.New("the server closed a connection")
			}
			if err := r.take(p, buf[:n]); err != nil {
				return err
			}
		}
	}
}

// dial connects from one of eight addresses, so that ports suffice.
func dial(to netip.AddrPort, i int, hello []byte) (*peer, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	// The port is chosen at connect, when both ends are known: a port can then
	// serve as many connections as there are addresses.
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1); err != nil {
		return nil, err
	}
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, byte(1 + i%8)}}); err != nil {
		return nil, err
	}
	if err := unix.Connect(fd, &unix.SockaddrInet4{Port: int(to.Port()), Addr: to.Addr().As4()}); err != nil {
		return nil, err
	}
	if _, err := unix.Write(fd, hello); err != nil {
		return nil, err
	}
	return &peer{fd: fd}, unix.SetNonblock(fd, true)
}

// take checks and counts what one read has brought.
func (r *receiver) take(p *peer, b []byte) error {
	if len(p.partial) > 0 {
		p.partial = append(p.partial, b...)
		b = p.partial
	}
	messages := 0
	for {
		f, n, err := protocol.Parse(b, protocol.MaxBody)
		if err != nil {
			return err
		}
		if n == 0 {
			break
		}
		b = b[n:]
		switch f.Type {
		case protocol.TypeConnected:
			r.opened.Done()
		case protocol.TypeMessage:
			seq, ok := seqOf(f.Body)
			if !ok || len(f.Body) < r.size {
				return errors.New("a message is not as it was sent")
			}
			if seq != p.seq+1 {
				return fmt.Errorf("message %d came after %d", seq, p.seq)
			}
			p.seq = seq
			messages++
		default:
			return fmt.Errorf("unexpected frame: %v", f)
		}
	}
	switch {
	case len(b) > 0:
		p.partial = append([]byte(nil), b...)
	case p.partial != nil:
		p.partial = nil
	}
	if messages > 0 && r.left.Add(-int64(messages)) == 0 {
		r.over <- struct{}{}
	}
	return nil
}

// seqOf finds a message's seq without decoding the rest, which would cost more
// than what is measured.
func seqOf(body []byte) (uint64, bool) {
	for len(body) > 0 {
		num, typ, n := protowire.ConsumeTag(body)
		if n < 0 {
			return 0, false
		}
		body = body[n:]
		if num == 2 && typ == protowire.VarintType {
			seq, n := protowire.ConsumeVarint(body)
			return seq, n > 0
		}
		if n = protowire.ConsumeFieldValue(num, typ, body); n < 0 {
			return 0, false
		}
		body = body[n:]
	}
	return 0, false
}
