package protocol_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/rogpeppe/go-internal/txtar"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
)

var update = flag.Bool("update", false, "rewrite the .txt and .err sections of testdata/*.txtar from their .hex")

// vectorLimit is the body limit of a vector that names none.
const vectorLimit = 256 << 10

// incomplete is the expected error of a vector that ends inside a frame.
const incomplete = "INCOMPLETE"

// A vector is one case of an archive; testdata/README.md describes them.
type vector struct {
	name  string // "frames/connect"
	wire  []byte
	limit int
	txt   string
	err   string
}

// vectorFiles are the archives of vectors; ids.txtar has a form of its own.
func vectorFiles(t testing.TB) []string {
	t.Helper()
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	files = slices.DeleteFunc(files, func(f string) bool { return filepath.Base(f) == "ids.txtar" })
	if len(files) == 0 {
		t.Fatal("no vectors")
	}
	return files
}

func loadVectors(t testing.TB, file string) []vector {
	t.Helper()
	archive, err := txtar.ParseFile(file)
	if err != nil {
		t.Fatal(err)
	}
	prefix := strings.TrimSuffix(filepath.Base(file), ".txtar") + "/"
	var vectors []vector
	for _, section := range archive.Files {
		name, kind, _ := strings.Cut(section.Name, ".")
		if kind == "hex" {
			wire, err := parseHex(string(section.Data))
			if err != nil {
				t.Fatalf("%s: %s: %v", file, section.Name, err)
			}
			vectors = append(vectors, vector{name: prefix + name, wire: wire, limit: vectorLimit})
			continue
		}
		if len(vectors) == 0 || vectors[len(vectors)-1].name != prefix+name {
			t.Fatalf("%s: section %s does not follow %s.hex", file, section.Name, name)
		}
		v, data := &vectors[len(vectors)-1], string(section.Data)
		switch kind {
		case "limit":
			if v.limit, err = strconv.Atoi(strings.TrimSpace(data)); err != nil {
				t.Fatalf("%s: %s: %v", file, section.Name, err)
			}
		case "txt":
			v.txt = data
		case "err":
			v.err = strings.TrimSpace(data)
		default:
			t.Fatalf("%s: section %s is of no known kind", file, section.Name)
		}
	}
	return vectors
}

func allVectors(t testing.TB) []vector {
	t.Helper()
	var all []vector
	for _, file := range vectorFiles(t) {
		all = append(all, loadVectors(t, file)...)
	}
	return all
}

func findVector(t testing.TB, name string) vector {
	t.Helper()
	for _, v := range allVectors(t) {
		if v.name == name {
			return v
		}
	}
	t.Fatalf("no vector %q", name)
	return vector{}
}

// parseHex reads hex digits; white space separates, # begins a comment, and
// "61*300" is the byte 0x61 300 times.
func parseHex(text string) ([]byte, error) {
	var b []byte
	for line := range strings.Lines(text) {
		line, _, _ = strings.Cut(line, "#")
		for _, word := range strings.Fields(line) {
			digits, count, repeated := strings.Cut(word, "*")
			bits, err := hex.DecodeString(digits)
			if err != nil {
				return nil, fmt.Errorf("%q: %w", word, err)
			}
			n := 1
			if repeated {
				if n, err = strconv.Atoi(count); err != nil {
					return nil, fmt.Errorf("%q: %w", word, err)
				}
			}
			b = append(b, bytes.Repeat(bits, n)...)
		}
	}
	return b, nil
}

// run parses and decodes v as a receiver of its bytes would.
func (v vector) run() (txt, fault string) {
	for b := v.wire; len(b) > 0; {
		f, n, err := protocol.Parse(b, v.limit)
		if err == nil && n == 0 {
			return txt, incomplete
		}
		if err == nil && strings.HasPrefix(v.name, "refused/") {
			err = protocol.CheckFromClient(f)
		}
		if err == nil {
			if m := f.Type.NewBody(); m != nil {
				err = protocol.Decode(f, m)
			}
		}
		if err != nil {
			return txt, protocol.CodeOf(err).Name()
		}
		txt += string(protocol.AppendTrace(nil, f, true)) + "\n"
		b = b[n:]
	}
	return txt, ""
}

func TestGolden(t *testing.T) {
	if *update {
		for _, file := range vectorFiles(t) {
			updateVectors(t, file)
		}
	}
	for _, v := range allVectors(t) {
		t.Run(v.name, func(t *testing.T) {
			txt, fault := v.run()
			if txt != v.txt {
				t.Errorf("got the frames\n%swant\n%s", txt, v.txt)
			}
			if fault != v.err {
				t.Errorf("got the error %q, want %q", fault, v.err)
			}
		})
	}
}

// updateVectors rewrites the outcome of every vector in file and keeps the
// rest as it is.
func updateVectors(t *testing.T, file string) {
	archive, err := txtar.ParseFile(file)
	if err != nil {
		t.Fatal(err)
	}
	vectors := loadVectors(t, file)
	var sections []txtar.File
	finish := func() { // adds the outcome of the last vector that was begun
		if len(sections) == 0 {
			return
		}
		name, _, _ := strings.Cut(sections[len(sections)-1].Name, ".")
		i := slices.IndexFunc(vectors, func(v vector) bool { return strings.HasSuffix(v.name, "/"+name) })
		txt, fault := vectors[i].run()
		if txt != "" {
			sections = append(sections, txtar.File{Name: name + ".txt", Data: []byte(txt)})
		}
		if fault != "" {
			sections = append(sections, txtar.File{Name: name + ".err", Data: []byte(fault + "\n")})
		}
	}
	for _, section := range archive.Files {
		switch filepath.Ext(section.Name) {
		case ".txt", ".err":
		case ".hex":
			finish()
			fallthrough
		default:
			sections = append(sections, section)
		}
	}
	finish()
	archive.Files = sections
	if err := os.WriteFile(file, txtar.Format(archive), 0o644); err != nil {
		t.Fatal(err)
	}
}

// A receiver sees the same frames however the network cuts the bytes up.
func TestGoldenSplitAnywhere(t *testing.T) {
	for _, v := range allVectors(t) {
		if len(v.wire) > 4<<10 {
			continue // quadratic
		}
		want, wantErr := readFrames(bytes.NewReader(v.wire), v.limit)
		for cut := range v.wire {
			src := io.MultiReader(bytes.NewReader(v.wire[:cut]), bytes.NewReader(v.wire[cut:]))
			if got, err := readFrames(src, v.limit); !slices.Equal(got, want) || !sameError(err, wantErr) {
				t.Errorf("%s: cut at %d: got %q and %v, want %q and %v", v.name, cut, got, err, want, wantErr)
			}
		}
		if got, err := readFrames(iotest.OneByteReader(bytes.NewReader(v.wire)), v.limit); !slices.Equal(got, want) || !sameError(err, wantErr) {
			t.Errorf("%s: byte by byte: got %q and %v, want %q and %v", v.name, got, err, want, wantErr)
		}
	}
}

func readFrames(src io.Reader, limit int) (frames []string, err error) {
	for r := protocol.NewReader(src, limit); ; {
		f, err := r.ReadFrame()
		if err != nil {
			return frames, err
		}
		frames = append(frames, string(protocol.AppendFrame(nil, f.Type, f.Request, f.Body)))
	}
}

// sameError compares the codes of protocol errors, and others by identity.
func sameError(a, b error) bool {
	var pa, pb *protocol.Error
	if errors.As(a, &pa) && errors.As(b, &pb) {
		return pa.Code == pb.Code
	}
	return a == b
}

// The vectors that an encoder can be held to: encoding what was decoded gives
// the same bytes.
func TestGoldenEncode(t *testing.T) {
	for _, file := range []string{"testdata/frames.txtar", "testdata/session.txtar"} {
		for _, v := range loadVectors(t, file) {
			var again []byte
			for b := v.wire; len(b) > 0; {
				f, n, err := protocol.Parse(b, v.limit)
				if err != nil || n == 0 {
					t.Fatalf("%s: %d, %v", v.name, n, err)
				}
				if m := f.Type.NewBody(); m == nil {
					again = protocol.AppendFrame(again, f.Type, f.Request, nil)
				} else if err := proto.Unmarshal(f.Body, m); err != nil {
					t.Fatalf("%s: %v", v.name, err)
				} else {
					again = protocol.AppendProto(again, f.Type, f.Request, m)
				}
				b = b[n:]
			}
			if !bytes.Equal(again, v.wire) {
				t.Errorf("%s: encodes as\n%x, want\n%x", v.name, again, v.wire)
			}
		}
	}
}

// Every type of frame is in frames.txtar with all its fields set, and GROUP with
// each of its actions.
func TestGoldenCoversEveryField(t *testing.T) {
	seen := map[protocol.Type]bool{}
	actions := map[protoreflect.Name]bool{}
	for _, v := range loadVectors(t, "testdata/frames.txtar") {
		for b := v.wire; len(b) > 0; {
			f, n, err := protocol.Parse(b, v.limit)
			if err != nil || n == 0 {
				t.Fatalf("%s: %d, %v", v.name, n, err)
			}
			b = b[n:]
			m := f.Type.NewBody()
			if m == nil {
				seen[f.Type] = true
				continue
			}
			if err := protocol.Decode(f, m); err != nil {
				t.Fatalf("%s: %v", v.name, err)
			}
			if unset := unsetField(m.ProtoReflect()); unset == "" {
				seen[f.Type] = true
				if r, ok := m.(*pb.GroupRequest); ok {
					actions[r.ProtoReflect().WhichOneof(r.ProtoReflect().Descriptor().Oneofs().Get(0)).Name()] = true
				}
			}
		}
	}
	for _, typ := range allTypes() {
		if !seen[typ] {
			t.Errorf("no vector of %v has all fields set", typ)
		}
	}
	all := (*pb.GroupRequest)(nil).ProtoReflect().Descriptor().Oneofs().Get(0).Fields()
	for i := range all.Len() {
		if !actions[all.Get(i).Name()] {
			t.Errorf("no vector of GROUP with %s", all.Get(i).Name())
		}
	}
}
