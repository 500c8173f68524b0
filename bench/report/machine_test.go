package report

import (
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
	"testing"
)

func TestLoadMachine(t *testing.T) {
	m := LoadMachine()
	if m.Cores < 1 || m.LoadProcs != runtime.GOMAXPROCS(0) || m.Go != runtime.Version() || m.Arch != runtime.GOARCH || m.OS == "" {
		t.Errorf("%+v", m)
	}
	if runtime.GOOS == "linux" && (m.Kernel == "" || m.Memory < 1<<20) {
		t.Errorf("%+v", m)
	}
}

func TestLoadDisk(t *testing.T) {
	if _, err := os.Stat("/proc/self/mountinfo"); err != nil {
		t.Skip(err)
	}
	if d := LoadDisk("/proc/self"); d.FileSystem != "proc" || d.Path != "/proc/self" {
		t.Errorf("%+v", d)
	}
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink("/proc", link); err != nil {
		t.Fatal(err)
	}
	if d := LoadDisk(link); d.FileSystem != "proc" {
		t.Errorf("through a link: %+v", d)
	}
}

func TestMountOf(t *testing.T) {
	mounts := []byte(`22 27 0:21 / / rw shared:1 - ext4 /dev/vda rw
23 22 0:22 / /srv rw - xfs /dev/vdb rw
24 23 0:23 / /srv rw - btrfs /dev/vdc rw
25 22 0:24 / /srv/with\040space rw,relatime shared:2 master:1 - tmpfs tmpfs rw
broken
`)
	for path, want := range map[string]string{
		"/":                    "ext4 /dev/vda",
		"/srvx":                "ext4 /dev/vda",
		"/srv":                 "btrfs /dev/vdc",
		"/srv/data":            "btrfs /dev/vdc",
		"/srv/with space/data": "tmpfs tmpfs",
	} {
		fileSystem, device := mountOf(mounts, path)
		if got := fileSystem + " " + device; got != want {
			t.Errorf("%s: %q, want %q", path, got, want)
		}
	}
}

func TestVersion(t *testing.T) {
	info := &debug.BuildInfo{Main: debug.Module{Version: "(devel)"}, Settings: []debug.BuildSetting{
		{Key: "vcs.revision", Value: "0123456789abcdef"}, {Key: "vcs.time", Value: "2026-01-02T03:04:05Z"}, {Key: "vcs.modified", Value: "true"},
	}}
	v := versionOf(info, Version{Version: "devel", Go: "go1.26"})
	if want := (Version{Version: "devel", Commit: "0123456789abcdef", Time: "2026-01-02T03:04:05Z", Dirty: true, Go: "go1.26"}); v != want {
		t.Errorf("%+v", v)
	}
	if got := v.String(); got != "devel 0123456789ab with changes" {
		t.Error(got)
	}
	info.Main.Version = "v0.3.1-0.20260102030405-0123456789ab+dirty"
	if got := versionOf(info, Version{}).String(); got != info.Main.Version {
		t.Error(got)
	}
	if v := GitBuild(); v.Version == "" || !strings.HasPrefix(v.Go, runtime.Version()[:2]) {
		t.Errorf("%+v", v)
	}
}
