package netpoll

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if addr, count, ok := strings.Cut(os.Getenv(peersEnv), " "); ok {
		n, err := strconv.Atoi(count)
		if err == nil {
			err = peersMain(addr, n)
		}
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		return
	}
	goleak.VerifyTestMain(m,
		// gnet makes a pool of goroutines when it is imported and never ends it:
		// these are its two housekeepers, and a worker that waits for more. Each loop's
		// bell is work for it, connections aren't.
		goleak.IgnoreAnyFunction("github.com/panjf2000/ants/v2.(*poolCommon).purgeStaleWorkers"),
		goleak.IgnoreAnyFunction("github.com/panjf2000/ants/v2.(*poolCommon).ticktock"),
		goleak.IgnoreAnyFunction("github.com/panjf2000/ants/v2.(*goWorker).run.func1"),
	)
}

// peersEnv makes the test binary the peers' side of a test in a process of its
// own, whose memory and descriptors are not the server's.
const peersEnv = "NETPOLL_TEST_PEERS"

// peersMain opens n connections to addr, as fast as it can, sends a frame on
// each and waits for an answer or the end. It holds the connections until its
// standard input ends.
func peersMain(addr string, n int) error {
	const dialers = 50
	conns := make(chan net.Conn, n)
	errs := make(chan error, dialers)
	var wg sync.WaitGroup
	for range dialers {
		wg.Go(func() {
			for range n / dialers {
				c, err := net.Dial("tcp", addr)
				if err != nil {
					errs <- err
					return
				}
				_, _ = c.Write(benchFrame)
				_, _ = c.Read(make([]byte, 1))
				conns <- c
			}
		})
	}
	wg.Wait()
	select {
	case err := <-errs:
		return err
	default:
	}
	fmt.Println("ready")
	_, _ = io.Copy(io.Discard, os.Stdin)
	close(conns)
	for c := range conns {
		_ = c.Close()
	}
	return nil
}

// startPeers runs peersMain in another process and returns once it has its
// connections, with the function that ends it.
func startPeers(tb testing.TB, s *Server, n int) (end func()) {
	tb.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%s %d", peersEnv, s.Addr(), n))
	in, err := cmd.StdinPipe()
	if err != nil {
		tb.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		tb.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		tb.Fatal(err)
	}
	if said, _ := bufio.NewReader(out).ReadString('\n'); said != "ready\n" {
		tb.Fatalf("the peers say %q", said)
	}
	return func() {
		_ = in.Close()
		if err := cmd.Wait(); err != nil {
			tb.Errorf("the peers: %v", err)
		}
	}
}
