package msgstore

import (
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
)

// noLockFS can't make the lock's file.
type noLockFS struct{ vfs.FS }

func (noLockFS) Lock(name string) (io.Closer, error) {
	return nil, &os.PathError{Op: "open", Path: name, Err: fs.ErrPermission}
}

// beforeWrites calls f before every operation on inner that changes it.
func beforeWrites(inner vfs.FS, f func()) vfs.FS {
	return errorfs.Wrap(inner, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind.ReadOrWrite() == errorfs.OpIsWrite {
			f()
		}
		return nil
	}))
}

// crash returns what a power cut would leave of fs: what was synced, and of the
// rest some percent of the blocks and directory entries.
func crash(fs *vfs.MemFS, percent int, seed uint64) *vfs.MemFS {
	return fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: rand.New(rand.NewPCG(seed, 1))})
}

// onLogSync calls f before every sync of the write-ahead log, which fails if f
// does.
func onLogSync(inner vfs.FS, f func() error) vfs.FS {
	return errorfs.Wrap(inner, errorfs.InjectorFunc(func(op errorfs.Op) error {
		switch op.Kind {
		case errorfs.OpFileSync, errorfs.OpFileSyncData, errorfs.OpFileSyncTo:
			if strings.HasSuffix(op.Path, ".log") {
				return f()
			}
		}
		return nil
	}))
}
