package report

import (
	"bufio"
	"bytes"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
)

// Machine is where a run took place. What the system does not tell is empty.
type Machine struct {
	CPU    string `json:"cpu,omitempty"`
	Cores  int    `json:"cores"` // that the process may use
	Memory int64  `json:"memory_bytes,omitempty"`
	Kernel string `json:"kernel,omitempty"`
	OS     string `json:"os"`
	Arch   string `json:"arch"`
	Go     string `json:"go"`
	// LoadProcs and ServerProcs are GOMAXPROCS of the two processes; 0 where
	// it is not known.
	LoadProcs   int `json:"load_gomaxprocs"`
	ServerProcs int `json:"server_gomaxprocs,omitempty"`
	// Disk is where the server keeps its data.
	Disk *Disk `json:"disk,omitempty"`
}

// Disk is the file system of a directory.
type Disk struct {
	Path       string `json:"path"`
	FileSystem string `json:"file_system,omitempty"` // such as ext4
	Device     string `json:"device,omitempty"`
	// SyncP50 is the median time, in µs, of a bare fdatasync there; 0 where it
	// was not measured.
	SyncP50 float64 `json:"sync_p50_us,omitempty"`
}

// Build is which code a run measured, and with which.
type Build struct {
	Tool   Version  `json:"tool"`
	Server *Version `json:"server,omitempty"`
}

// Version is what a binary knows of its origin.
type Version struct {
	Version string `json:"version"`
	Commit  string `json:"commit,omitempty"`
	// Time is that of the commit, in RFC 3339.
	Time string `json:"time,omitempty"`
	// Dirty means that the working tree had changes that no commit holds.
	Dirty bool   `json:"dirty,omitempty"`
	Go    string `json:"go,omitempty"`
}

// String is the version and the first 12 digits of the commit.
func (v Version) String() string {
	s := v.Version
	if v.Commit != "" && !strings.Contains(s, v.Commit[:min(12, len(v.Commit))]) {
		s += " " + v.Commit[:min(12, len(v.Commit))]
	}
	if v.Dirty && !strings.Contains(s, "+dirty") {
		s += " with changes"
	}
	return s
}

// LoadMachine describes this machine and this process, from /proc where there
// is one. It takes less than a millisecond.
func LoadMachine() Machine {
	m := Machine{
		Cores:     runtime.NumCPU(),
		Kernel:    firstLine("/proc/sys/kernel/osrelease"),
		OS:        runtime.GOOS,
		Arch:      runtime.GOARCH,
		Go:        runtime.Version(),
		LoadProcs: runtime.GOMAXPROCS(0),
	}
	if name := field("/etc/os-release", "PRETTY_NAME", "="); name != "" {
		m.OS = strings.Trim(name, `"`)
	}
	m.CPU = field("/proc/cpuinfo", "model name", ":")
	if kib, ok := strings.CutSuffix(field("/proc/meminfo", "MemTotal", ":"), " kB"); ok {
		n, _ := strconv.ParseInt(kib, 10, 64) // 0 where the kernel changed its mind
		m.Memory = n << 10
	}
	return m
}

// LoadDisk describes the file system of a directory as /proc/self/mountinfo
// does, see proc(5).
func LoadDisk(dir string) Disk {
	d := Disk{Path: dir}
	path, err := filepath.Abs(dir)
	if err != nil {
		return d
	}
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return d
	}
	d.FileSystem, d.Device = mountOf(mounts, path)
	return d
}

// mountOf finds the file system type and the device of the longest mount point
// that holds path; of two on one point the later hides the earlier.
func mountOf(mountinfo []byte, path string) (fileSystem, device string) {
	longest := -1
	for line := range strings.Lines(string(mountinfo)) {
		before, after, ok := strings.Cut(line, " - ")
		fields, source := strings.Fields(before), strings.Fields(after)
		if !ok || len(fields) < 5 || len(source) < 2 {
			continue
		}
		point := unescapeMount(fields[4])
		holds := path == point || strings.HasPrefix(path, strings.TrimSuffix(point, "/")+"/")
		if holds && len(point) >= longest {
			longest, fileSystem, device = len(point), source[0], source[1]
		}
	}
	return fileSystem, device
}

// unescapeMount undoes the octal escapes of a mount point.
var unescapeMount = strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace

// GitBuild is what the Go toolchain recorded about this binary.
func GitBuild() Version {
	v := Version{Version: "devel", Go: runtime.Version()}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return v
	}
	return versionOf(info, v)
}

func versionOf(info *debug.BuildInfo, v Version) Version {
	if s := info.Main.Version; s != "" && s != "(devel)" {
		v.Version = s
	}
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			v.Commit = s.Value
		case "vcs.time":
			v.Time = s.Value
		case "vcs.modified":
			v.Dirty = s.Value == "true"
		}
	}
	return v
}

// field is the first value of a key in a file of "key separator value" lines.
func field(file, key, separator string) string {
	data, err := os.ReadFile(file)
	if err != nil {
		return ""
	}
	for scan := bufio.NewScanner(bytes.NewReader(data)); scan.Scan(); {
		if k, v, ok := strings.Cut(scan.Text(), separator); ok && strings.TrimSpace(k) == key {
			return strings.TrimSpace(v)
		}
	}
	return ""
}

func firstLine(file string) string {
	data, err := os.ReadFile(file)
	if err != nil {
		return ""
	}
	line, _, _ := strings.Cut(string(data), "\n")
	return line
}
