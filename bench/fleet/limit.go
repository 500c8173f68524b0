package fleet

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// RaiseFileLimit makes room for so many open files in this process, raising
// its limit as far as the hard limit allows. The error says what is missing.
func RaiseFileLimit(files int) error {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return fmt.Errorf("fleet: limit of open files: %w", err)
	}
	if uint64(files) <= limit.Cur {
		return nil
	}
	if uint64(files) > limit.Max {
		return fmt.Errorf("fleet: %d open files are needed in one process, the hard limit is %d: use more processes, or raise it (ulimit -Hn, LimitNOFILE)", files, limit.Max)
	}
	limit.Cur = uint64(files)
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return fmt.Errorf("fleet: raising the limit of open files to %d: %w", files, err)
	}
	return nil
}

// FileLimit is how many files this process may open at the most, after
// RaiseFileLimit.
func FileLimit() (int, error) {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return 0, fmt.Errorf("fleet: limit of open files: %w", err)
	}
	return int(min(limit.Max, 1<<30)), nil
}
