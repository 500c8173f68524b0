package ceiling

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/godwit-im/godwit/bench/report"
)

// SyncConfig is the shape of a synced write.
type SyncConfig struct {
	Dir  string // on the file system to be measured; the file in it is removed
	Size int    // of a write in bytes; default 512
	// Overwrite writes to a file that has its blocks already, as a log does
	// that recycles its files; else the file grows.
	Overwrite bool
	Timing
}

// SyncResult is what the disk does.
type SyncResult struct {
	Size      int
	Overwrite bool
	Rate      float64        // writes per second
	Sync      report.Latency // of write and fdatasync together
}

// overwritten is the size of the file that has its blocks, in bytes.
const overwritten = 64 << 20

// Sync measures write and fdatasync, one after the other.
func Sync(ctx context.Context, cfg SyncConfig) (r SyncResult, err error) {
	set(&cfg.Size, 512)
	if cfg.Dir == "" || cfg.Size < 1 || cfg.Size > overwritten {
		return r, errors.New("ceiling: want a directory and a size")
	}
	if err := cfg.Timing.withDefaults(); err != nil {
		return r, err
	}
	dir, err := os.MkdirTemp(cfg.Dir, "ceiling-")
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	f, err := os.Create(filepath.Join(dir, "sync"))
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if cfg.Overwrite {
		if _, err := f.Write(make([]byte, overwritten)); err != nil {
			return r, err
		}
		if err := f.Sync(); err != nil {
			return r, err
		}
	}

	b := make([]byte, cfg.Size)
	h := report.NewHistogram("write and fdatasync")
	recorder := h.Recorder()
	from := time.Now().Add(cfg.Warmup)
	for at := int64(0); ctx.Err() == nil; at += int64(len(b)) {
		now := time.Now()
		if now.Sub(from) >= cfg.For {
			break
		}
		if cfg.Overwrite && at+int64(len(b)) > overwritten {
			at = 0
		}
		if _, err := f.WriteAt(b, at); err != nil {
			return r, err
		}
		if err := unix.Fdatasync(int(f.Fd())); err != nil {
			return r, os.NewSyscallError("fdatasync", err)
		}
		if !now.Before(from) {
			recorder.Record(time.Since(now))
		}
	}
	if err := context.Cause(ctx); err != nil {
		return r, err
	}
	r = SyncResult{Size: cfg.Size, Overwrite: cfg.Overwrite, Sync: h.Latency()}
	r.Rate = float64(r.Sync.Count) / cfg.For.Seconds()
	return r, nil
}
