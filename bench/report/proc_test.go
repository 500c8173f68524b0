package report

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"runtime/debug"
	"testing"
	"time"
)

func onlyWithProc(t *testing.T) {
	t.Helper()
	if _, err := os.Stat("/proc/self/stat"); err != nil {
		t.Skip(err)
	}
}

func TestReadProcess(t *testing.T) {
	onlyWithProc(t)
	// So that what other tests have left is not given back meanwhile.
	debug.FreeOSMemory()
	before, err := ReadProcess(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if before.RSS < 1<<20 || before.RSS > 4<<30 || before.FDs < 3 {
		t.Errorf("%+v", before)
	}
	f, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	ballast := make([]byte, 64<<20)
	deadline := time.Now().Add(time.Minute)
	for {
		for i := range ballast {
			ballast[i]++ // takes both memory and time
		}
		now, err := ReadProcess(os.Getpid())
		if err != nil {
			t.Fatal(err)
		}
		if now.RSS-before.RSS > 60<<20 && now.CPU > before.CPU && now.FDs == before.FDs+1 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("before %+v, after 64 MiB, a file and some work %+v", before, now)
		}
	}
	if _, err := ReadProcess(1 << 30); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no such process: %v", err)
	}
}

func TestCountFDsByListing(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"0", "1", "2"} {
		if err := os.WriteFile(dir+"/"+name, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if info, err := os.Stat(dir); err != nil || info.Size() > 3 {
		t.Skip("this file system gives directories a size")
	}
	if n := countFDs(dir); n != 3 {
		t.Errorf("%d", n)
	}
}

func TestProcessorTime(t *testing.T) {
	for stat, want := range map[string]time.Duration{
		"42 (a) b) (c) S 1 2 3 4 5 6 7 8 9 10 150 25 0 0 20": 1750 * time.Millisecond,
		"42 (godwit) S 1 2 3 4 5 6 7 8 9 10 0 0 0":           0,
	} {
		if got, err := processorTime([]byte(stat)); err != nil || got != want {
			t.Errorf("%s: %v, %v", stat, got, err)
		}
	}
	for _, broken := range []string{"", "42 (x) S 1 2", "42 (x) S 1 2 3 4 5 6 7 8 9 10 a b 0"} {
		if _, err := processorTime([]byte(broken)); err == nil {
			t.Errorf("took %q", broken)
		}
	}
}

func TestReadKernelCountsSockets(t *testing.T) {
	onlyWithProc(t)
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	const pairs = 200
	for range pairs {
		c, err := net.Dial("tcp4", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		accepted, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer accepted.Close()
	}
	// Not by how many they are more: another process on the machine may close as
	// many meanwhile.
	now, err := ReadKernel()
	if err != nil {
		t.Fatal(err)
	}
	if now.Sockets < 2*pairs {
		t.Errorf("with %d connections within the machine there are %d sockets", pairs, now.Sockets)
	}
	if now.Slab < 1<<20 {
		t.Errorf("%+v", now)
	}
}

func TestParseKernel(t *testing.T) {
	sockets, buffers := tcpSockets([]byte("sockets: used 12\nTCP: inuse 7 orphan 0 tw 2 alloc 1 mem 243\nUDP: inuse 9 mem 9\n"), 4096)
	if sockets != 7 || buffers != 243*4096 {
		t.Errorf("%d, %d", sockets, buffers)
	}
	if sockets, _ = tcpSockets([]byte("TCP6: inuse 5\nUDP6: inuse 1\n"), 0); sockets != 5 {
		t.Errorf("%d", sockets)
	}
	slabs := socketSlab([]byte(`slabinfo - version: 2.1
# name            <active_objs> <num_objs> <objsize> <objperslab> <pagesperslab> : tunables <limit> <batchcount> <sharedfactor> : slabdata <active_slabs> <num_slabs> <sharedavail>
TCP                   26     26   2368   13    8 : tunables    0    0    0 : slabdata      2      3      0
inode_cache           26     26   2368   13    8 : tunables    0    0    0 : slabdata      2      3      0
filp                  76     76    832   19    4 : tunables    0    0    0 : slabdata      4      5      0
`), 4096)
	if want := int64((8*3 + 4*5) * 4096); slabs != want {
		t.Errorf("%d, want %d", slabs, want)
	}
}
