package report

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// Process is what /proc tells of a process, see proc(5).
type Process struct {
	// RSS is the resident memory in bytes. The kernel sums it up lazily: it
	// may be off by some 128 KiB a processor.
	RSS int64
	// CPU is the processor time so far, of all threads in both modes, in
	// steps of 10 ms.
	CPU time.Duration
	// ReadBytes and WrittenBytes went to and from the disk. Both are 0 where
	// the process belongs to somebody else.
	ReadBytes, WrittenBytes int64
	// FDs is the number of open file descriptors; 0 where the process belongs
	// to somebody else.
	FDs int
}

// clockTick is the unit of times in /proc/pid/stat. The kernel gives user
// space 100 a second on every architecture but Alpha.
const clockTick = 10 * time.Millisecond

// ReadProcess takes some 40 µs. The error is, or wraps, fs.ErrNotExist where
// there is no such process.
func ReadProcess(pid int) (Process, error) {
	dir := "/proc/" + strconv.Itoa(pid)
	var p Process
	stat, err := os.ReadFile(dir + "/stat")
	if err != nil {
		return p, err
	}
	if p.CPU, err = processorTime(stat); err != nil {
		return p, fmt.Errorf("%s/stat: %w", dir, err)
	}
	status, err := os.ReadFile(dir + "/status")
	if err != nil {
		return p, err
	}
	rss, ok := keyed(status, "VmRSS:")
	if !ok {
		return p, fmt.Errorf("process %d has ended, or never had memory", pid)
	}
	p.RSS = rss << 10
	if io, err := os.ReadFile(dir + "/io"); err == nil {
		p.ReadBytes, _ = keyed(io, "read_bytes:")
		p.WrittenBytes, _ = keyed(io, "write_bytes:")
	}
	p.FDs = countFDs(dir + "/fd")
	return p, nil
}

// countFDs asks for the directory's size, which is the count since Linux 6.2;
// before, it lists them.
func countFDs(dir string) int {
	if info, err := os.Stat(dir); err == nil && info.Size() > 0 {
		return int(info.Size())
	}
	f, err := os.Open(dir)
	if err != nil {
		return 0
	}
	defer f.Close()
	names, _ := f.Readdirnames(-1) // what was read counts
	return len(names)
}

// processorTime adds the fields utime and stime, the 14th and 15th. The second
// field is the program's name in parentheses and may hold spaces and
// parentheses itself.
func processorTime(stat []byte) (time.Duration, error) {
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:])) // from the third on
	if len(fields) < 13 {
		return 0, errors.New("not enough fields")
	}
	user, err1 := strconv.ParseInt(fields[11], 10, 64)
	system, err2 := strconv.ParseInt(fields[12], 10, 64)
	return time.Duration(user+system) * clockTick, errors.Join(err1, err2)
}

// Kernel is the memory that sockets cost outside of the processes that hold
// them. Of a connection within the machine, both ends are in it. What cannot
// be read is 0.
type Kernel struct {
	// Sockets are the TCP sockets in use, of the network namespace.
	Sockets int64
	// TCPBuffers is what TCP accounts for queued data, in bytes.
	TCPBuffers int64
	// Slab is the memory of all kernel objects, in bytes.
	Slab int64
	// SocketSlab is the part of Slab that grows with sockets, from
	// /proc/slabinfo, which only root may read.
	SocketSlab int64
}

// socketCaches are the slab caches that a TCP connection which an epoll
// watches takes objects of. Files have some of them too, so only growth says
// something of sockets.
var socketCaches = map[string]bool{
	"TCP": true, "TCPv6": true, "request_sock_TCP": true, "request_sock_TCPv6": true, "tw_sock_TCP": true, "tw_sock_TCPv6": true,
	"sock_inode_cache": true, "tcp_bind_bucket": true, "tcp_bind2_bucket": true,
	"filp": true, "dentry": true, "eventpoll_epi": true, "eventpoll_pwq": true, "ep_head": true,
}

// ReadKernel takes some 400 µs. It fails where there is no /proc/net/sockstat.
func ReadKernel() (Kernel, error) {
	sockstat, err := os.ReadFile("/proc/net/sockstat")
	if err != nil {
		return Kernel{}, err
	}
	var k Kernel
	k.Sockets, k.TCPBuffers = tcpSockets(sockstat, int64(os.Getpagesize()))
	if v6, err := os.ReadFile("/proc/net/sockstat6"); err == nil {
		sockets, _ := tcpSockets(v6, 0) // the buffers are those of both
		k.Sockets += sockets
	}
	if meminfo, err := os.ReadFile("/proc/meminfo"); err == nil {
		slab, _ := keyed(meminfo, "Slab:")
		k.Slab = slab << 10
	}
	if slabinfo, err := os.ReadFile("/proc/slabinfo"); err == nil {
		k.SocketSlab = socketSlab(slabinfo, int64(os.Getpagesize()))
	}
	return k, nil
}

// tcpSockets reads lines such as "TCP: inuse 1 orphan 0 tw 2 alloc 1 mem 243",
// the memory in pages, and "TCP6: inuse 2".
func tcpSockets(sockstat []byte, page int64) (sockets, buffers int64) {
	for line := range strings.Lines(string(sockstat)) {
		fields := strings.Fields(line)
		if len(fields) == 0 || fields[0] != "TCP:" && fields[0] != "TCP6:" {
			continue
		}
		for i := 1; i+1 < len(fields); i += 2 {
			n, _ := strconv.ParseInt(fields[i+1], 10, 64)
			switch fields[i] {
			case "inuse":
				sockets += n
			case "mem":
				buffers += n * page
			}
		}
	}
	return sockets, buffers
}

// socketSlab sums up the slabs of socketCaches. A line is the cache's name,
// active_objs, num_objs, objsize, objperslab, pagesperslab, and later "slabdata"
// with active_slabs and num_slabs; see slabinfo(5).
func socketSlab(slabinfo []byte, page int64) (total int64) {
	for line := range strings.Lines(string(slabinfo)) {
		fields := strings.Fields(line)
		if len(fields) < 16 || !socketCaches[fields[0]] || fields[12] != "slabdata" {
			continue
		}
		pages, err1 := strconv.ParseInt(fields[5], 10, 64)
		slabs, err2 := strconv.ParseInt(fields[14], 10, 64)
		if err1 == nil && err2 == nil {
			total += pages * slabs * page
		}
	}
	return total
}

// keyed is the number behind a key that begins a line.
func keyed(data []byte, key string) (n int64, ok bool) {
	for line := range strings.Lines(string(data)) {
		if rest, found := strings.CutPrefix(line, key); found {
			fields := strings.Fields(rest)
			if len(fields) == 0 {
				return 0, false
			}
			n, err := strconv.ParseInt(fields[0], 10, 64)
			return n, err == nil
		}
	}
	return 0, false
}
