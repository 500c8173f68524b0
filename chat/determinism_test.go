package chat

import (
	"fmt"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"golang.org/x/tools/go/packages"
	"pgregory.net/rapid"

	"github.com/godwit-im/godwit/msgstore"
	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
)

// TestApplyIsDeterministic applies the same commands to two stores, cut into
// different commits: results, effects and stores must be the same.
func TestApplyIsDeterministic(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		commands := append(newGroups(), rapid.SliceOfN(rapid.Custom(drawCommand), 1, 80).Draw(t, "commands")...)
		for i := range commands {
			commands[i].MessageID = uint64(1000 + i)
			commands[i].Rules.MaxReactions = 2
			commands[i].Rules.RecallWindow = 800 * time.Millisecond
		}
		wantTranscript, wantHash := replay(t, commands, func(int) bool { return true })
		cuts := rapid.SliceOfN(rapid.Bool(), len(commands), len(commands)).Draw(t, "cuts")
		transcript, hash := replay(t, commands, func(i int) bool { return cuts[i] })
		if transcript != wantTranscript {
			t.Errorf("cut into other batches, the commands gave\n%s\ninstead of\n%s", transcript, wantTranscript)
		}
		if hash != wantHash {
			t.Errorf("cut into other batches, the commands left another store")
		}
	})
}

func drawCommand(t *rapid.T) Command {
	conversation := rapid.SampledFrom(append([]string{"d:ann:bob", "d:ann:cid", "d:bob:cid"}, drawnGroups...))
	c := Command{
		Conversation: conversation.Draw(t, "conversation"),
		User:         rapid.SampledFrom(drawnUsers).Draw(t, "user"),
		TimeMs:       rapid.Int64Range(1, 1000).Draw(t, "time"), // goes back and forth
		Rules:        rulesOf(rapid.SampledFrom([]string{"", "", "contacts-only", "delete-two", "ask-first", "three-members"}).Draw(t, "rules")),
	}
	switch rapid.IntRange(0, 34).Draw(t, "op") {
	case 25, 26, 27, 28, 29, 30, 31, 32, 33, 34:
		drawGroupCommand(t, &c)
	case 20, 21, 22, 23, 24:
		drawOwnCommand(t, &c)
	case 0, 1:
		c.Op, c.User = OpTrim, ""
		c.Below = rapid.Uint64Range(0, 12).Draw(t, "below")
	case 2:
		c.Op, c.User = OpExpire, ""
		c.Seq = rapid.Uint64Range(1, 12).Draw(t, "seq")
		c.ExpiresMs = rapid.Int64Range(1, 1000).Draw(t, "expires")
	case 3, 4, 5:
		c.Op = OpMark
		c.ReadSeq = rapid.Uint64Range(0, 12).Draw(t, "read")
		c.DeliveredSeq = rapid.Uint64Range(0, 12).Draw(t, "delivered")
	default:
		c.Op, c.Kind = OpSend, pb.Kind_KIND_TEXT
		c.Takes = pb.Audience(rapid.SampledFrom([]int32{0, 0, 2, 3}).Draw(t, "the peer takes messages from"))
		c.ClientID = rapid.StringMatching("[a-f]").Draw(t, "client id") // resends are common
		c.Body = []byte(c.ClientID)
		if rapid.IntRange(0, 9).Draw(t, "reuse") == 0 {
			c.Body = []byte("another body")
		}
		drawKind(t, &c)
	}
	return c
}

// drawKind makes a SEND more than a text, now and then.
func drawKind(t *rapid.T, c *Command) {
	mentions := rapid.SampledFrom([][]string{nil, nil, {"bob"}, {"ann", "cid"}})
	switch rapid.IntRange(0, 9).Draw(t, "kind") {
	case 0:
		c.Kind, c.Target = pb.Kind_KIND_EDIT, rapid.Uint64Range(1, 8).Draw(t, "target")
		c.Mentions = mentions.Draw(t, "mentions")
	case 1:
		c.Kind, c.Target, c.Body = pb.Kind_KIND_RECALL, rapid.Uint64Range(1, 8).Draw(t, "target"), nil
	case 2, 3:
		c.Kind, c.Target = pb.Kind_KIND_REACTION, rapid.Uint64Range(1, 3).Draw(t, "target")
		c.Remove = rapid.Bool().Draw(t, "remove")
	case 4:
		c.TTLMs = rapid.Int64Range(1, 500).Draw(t, "ttl")
		c.Flags = rapid.Uint32Range(0, 7).Draw(t, "flags")
	case 5:
		c.Mentions = mentions.Draw(t, "mentions")
		c.ReplySeq = rapid.Uint64Range(0, 4).Draw(t, "reply")
		c.MentionAll = protocol.KindOf(c.Conversation) == protocol.Group && rapid.Bool().Draw(t, "all")
	}
}

// replay applies commands to a new store, with a commit after the i-th where
// commit(i) says so and after the last.
func replay(t *rapid.T, commands []Command, commit func(i int) bool) (transcript, hash string) {
	store, err := msgstore.Open(storeOptions(vfs.NewMem()))
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	var (
		out     strings.Builder
		tx      = store.Begin()
		indexes = make([]uint64, store.Partitions())
	)
	for i := range commands {
		c := commands[i]
		p := store.PartitionOf(c.Conversation)
		indexes[p]++
		r, effects, err := Apply(tx, indexes[p], &c, nil)
		if err != nil {
			t.Fatalf("command %d: %v", i, err)
		}
		tx.SetApplied(p, indexes[p])
		out.WriteString(show(&c, r, effects))
		if commit(i) || i == len(commands)-1 {
			if err := tx.Commit(); err != nil {
				t.Fatal(err)
			}
			tx = store.Begin()
		}
	}
	tx.Discard()
	var hashes strings.Builder
	for p := range store.Partitions() {
		h, err := store.StateHash(p)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&hashes, "%x\n", h)
	}
	return out.String(), hashes.String()
}

// TestApplyReadsOnlyItsArguments holds Apply, and every function of this
// package that it reaches, to the rule of its comment.
func TestApplyReadsOnlyItsArguments(t *testing.T) {
	loaded, err := packages.Load(&packages.Config{
		Mode: packages.NeedName | packages.NeedFiles | packages.NeedCompiledGoFiles | packages.NeedSyntax |
			packages.NeedTypes | packages.NeedTypesInfo | packages.NeedImports,
	}, ".")
	if err != nil {
		t.Fatal(err)
	}
	if n := packages.PrintErrors(loaded); n > 0 || len(loaded) != 1 {
		t.Fatalf("%d packages with %d errors", len(loaded), n)
	}
	pkg := loaded[0]
	reached, found := impurities(pkg.Fset, pkg.Syntax, pkg.TypesInfo, "Apply")
	for _, f := range found {
		t.Error(f)
	}
	// The walk must not have missed the point.
	for _, f := range []string{
		"Apply", "applySend", "applyMark", "applyTrim", "applyExpire", "applySettings", "applyDelete", "applyContact", "applyAccount",
		"applySeen", "applyNotify", "applyForget", "applyGroup", "push", "othersUpTo", "describe", "refuse", "bury", "react", "tellState", "enter", "exit",
	} {
		if !reached[f] {
			t.Errorf("the walk from Apply did not reach %s; it reached %v", f, reached)
		}
	}
}

// TestImpuritiesAreFound proves that the test above can fail.
func TestImpuritiesAreFound(t *testing.T) {
	for name, source := range map[string]string{
		"clock":          `package p; import "time"; func Apply() int64 { return now() }; func now() int64 { return time.Now().Unix() }`,
		"randomness":     `package p; import "math/rand/v2"; func Apply() int { return rand.Int() }`,
		"map order":      `package p; func Apply(m map[int]int) (n int) { for k := range m { n = k }; return n }`,
		"state":          `package p; var n int; func Apply() int { n++; return n }`,
		"goroutine":      `package p; func Apply() { go func() {}() }`,
		"reached method": `package p; import "os"; type t struct{}; func (t) f() string { return os.Getenv("X") }; func Apply() string { return t{}.f() }`,
	} {
		fset := token.NewFileSet()
		file, err := parser.ParseFile(fset, "p.go", source, 0)
		if err != nil {
			t.Fatal(err)
		}
		info := &types.Info{Types: map[ast.Expr]types.TypeAndValue{}, Uses: map[*ast.Ident]types.Object{}, Defs: map[*ast.Ident]types.Object{}}
		if _, err := (&types.Config{Importer: importer.Default()}).Check("p", fset, []*ast.File{file}, info); err != nil {
			// Without compiled standard packages to import, from their source.
			info = &types.Info{Types: map[ast.Expr]types.TypeAndValue{}, Uses: map[*ast.Ident]types.Object{}, Defs: map[*ast.Ident]types.Object{}}
			if _, err := (&types.Config{Importer: importer.ForCompiler(fset, "source", nil)}).Check("p", fset, []*ast.File{file}, info); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
		}
		if _, found := impurities(fset, []*ast.File{file}, info, "Apply"); len(found) == 0 {
			t.Errorf("%s: nothing was found in %s", name, source)
		}
	}
}

// pure are the packages that what Apply reaches may call, and
// (time.Duration).Milliseconds, which is a division.
var pure = map[string]bool{
	"bytes":                                true,
	"(time.Duration).Milliseconds":         true,
	"cmp":                                  true,
	"fmt":                                  true,
	"slices":                               true,
	"unicode/utf8":                         true,
	"google.golang.org/protobuf/proto":     true,
	"github.com/godwit-im/godwit/msgstore": true,
	"github.com/godwit-im/godwit/protocol": true,
	"github.com/godwit-im/godwit/protocol/pb": true,
}

// impurities walks the functions of a package that root reaches and returns
// their names, and what in them could make two runs differ: calls into packages
// that are not pure, ranges over maps, goroutines and channels, and package
// variables that are anything but a fixed refusal or the table of rights.
func impurities(fset *token.FileSet, files []*ast.File, info *types.Info, root string) (reached map[string]bool, found []string) {
	bodies := map[types.Object]*ast.FuncDecl{}
	var todo []*ast.FuncDecl
	for _, file := range files {
		for _, d := range file.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && f.Body != nil {
				bodies[info.Defs[f.Name]] = f
				if f.Name.Name == root && f.Recv == nil {
					todo = append(todo, f)
				}
			}
		}
	}
	reached = map[string]bool{}
	report := func(n ast.Node, what string) {
		found = append(found, fmt.Sprintf("%s: %s, and %s reaches it", fset.Position(n.Pos()), what, root))
	}
	seen := map[*ast.FuncDecl]bool{}
	for len(todo) > 0 {
		f := todo[0]
		todo = todo[1:]
		if seen[f] {
			continue
		}
		seen[f] = true
		reached[f.Name.Name] = true
		ast.Inspect(f, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.RangeStmt:
				if _, ok := info.Types[n.X].Type.Underlying().(*types.Map); ok {
					report(n, "ranges over a map")
				}
			case *ast.GoStmt, *ast.SelectStmt, *ast.SendStmt:
				report(n, "leaves its goroutine")
			case *ast.Ident:
				object := info.Uses[n]
				if object == nil || object.Pkg() == nil {
					return true
				}
				if f, ok := bodies[object]; ok {
					todo = append(todo, f)
					return true
				}
				switch o := object.(type) {
				case *types.Func, *types.TypeName, *types.Const:
					path, name := o.Pkg().Path(), ""
					if f, ok := o.(*types.Func); ok {
						name = f.FullName()
					}
					if path != info.Defs[f.Name].Pkg().Path() && !pure[path] && !pure[name] {
						report(n, "uses "+path+"."+o.Name())
					}
				case *types.Var:
					global := o.Parent() == o.Pkg().Scope()
					if global && !strings.HasSuffix(o.Type().String(), "protocol.Error") && o.Name() != "rights" {
						report(n, "uses the variable "+o.Name())
					}
				}
			}
			return true
		})
	}
	return reached, found
}
