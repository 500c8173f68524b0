// Package knob is a flat table of settings that are read from a TOML file,
// from the environment and from flags, in rising order of precedence.
//
// Every knob has one name: "max-frame" is the key in the file, --max-frame the
// flag and, with the table's prefix, GODWIT_MAX_FRAME the variable. The file
// has no tables. Whatever cannot be used is reported with its place, all of it
// at once, and an unknown name with the nearest one that exists.
package knob

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/spf13/pflag"
)

// A Knob is one setting. Value is what it sets, normally a field of some
// configuration struct, by the value found there when New is called its
// default.
type Knob struct {
	// Name is in lower case, words joined by '-'.
	Name string
	// Doc is a sentence in Markdown, without its capital and its full stop; units
	// and limits are in it.
	Doc string
	// Section is the heading under which the knob is listed. Knobs of one
	// section stand together in the table.
	Section string
	// Value parses and prints the setting. Its Set must not change the target
	// when it fails.
	Value pflag.Value
	// Secret keeps the value out of every listing. A secret has no flag: the
	// arguments of a process are public on its machine.
	Secret bool

	def    string
	source Source
	flag   *string // what the flag was given, once it was
}

// Default is the printed form of the value that the knob began with.
func (k *Knob) Default() string { return k.def }

// Source is where the knob's value came from.
func (k *Knob) Source() Source { return k.source }

// Origin is the kind of place that set a knob.
type Origin int

// The origins, in rising order of precedence.
const (
	FromDefault Origin = iota
	FromFile
	FromEnv
	FromFlag
)

// Source is the place that set a knob. Name is the file, the variable or the
// flag; Line and Column count from 1 and are 0 outside a file.
type Source struct {
	Origin       Origin
	Name         string
	Line, Column int
}

// String is "default", "file godwit.toml:3", "env GODWIT_NODE" or "flag --node".
func (s Source) String() string {
	switch s.Origin {
	case FromFile:
		return fmt.Sprintf("file %s:%d", s.Name, s.Line)
	case FromEnv:
		return "env " + s.Name
	case FromFlag:
		return "flag " + s.Name
	}
	return "default"
}

// place is how a problem names the source: compilers' form for a file.
func (s Source) place() string {
	if s.Origin == FromFile {
		return fmt.Sprintf("%s:%d:%d", s.Name, s.Line, s.Column)
	}
	return s.Name
}

// Problem is one thing wrong with what was configured.
type Problem struct {
	Source Source
	Text   string
}

// Error implements error: "godwit.toml:3:1: text".
func (p *Problem) Error() string { return p.Source.place() + ": " + p.Text }

// Set is a table of knobs. It is not safe for concurrent use.
type Set struct {
	prefix string
	knobs  []*Knob
	byName map[string]*Knob
}

// New makes a Set. prefix begins the names of its environment variables, for
// instance "GODWIT_". Two knobs of one name are a defect and panic.
func New(prefix string, knobs []Knob) *Set {
	s := &Set{prefix: prefix, byName: make(map[string]*Knob, len(knobs))}
	for _, k := range knobs {
		if s.byName[k.Name] != nil {
			panic("knob: two knobs named " + k.Name)
		}
		k.def = k.Value.String()
		s.knobs = append(s.knobs, &k)
		s.byName[k.Name] = &k
	}
	return s
}

// Knobs returns the knobs in table order. The slice belongs to the Set.
func (s *Set) Knobs() []*Knob { return s.knobs }

// Knob returns the knob of that name, or nil.
func (s *Set) Knob(name string) *Knob { return s.byName[name] }

// Env is the name of a knob's environment variable.
func (s *Set) Env(name string) string {
	return s.prefix + strings.ToUpper(strings.ReplaceAll(name, "-", "_"))
}

// Flags adds a flag for every knob that is no secret, or for those of the names
// given. A flag is remembered and takes effect in Load.
func (s *Set) Flags(fs *pflag.FlagSet, names ...string) {
	for _, k := range s.knobs {
		if k.Secret || len(names) > 0 && !slices.Contains(names, k.Name) {
			continue
		}
		// In a flag's text back quotes would mark the name of its value.
		f := fs.VarPF(&flagValue{k}, k.Name, "", strings.ReplaceAll(k.Doc, "`", ""))
		if k.Value.Type() == "bool" {
			f.NoOptDefVal = "true"
		}
	}
}

// flagValue sets its knob at once, so that a bad flag fails as flags do, and
// remembers the text for Load to set again over the file and the environment.
type flagValue struct{ knob *Knob }

func (v *flagValue) String() string { return v.knob.def }
func (v *flagValue) Type() string   { return v.knob.Value.Type() }

func (v *flagValue) Set(text string) error {
	if err := v.knob.Value.Set(text); err != nil {
		return err
	}
	v.knob.flag = &text
	return nil
}

// Load applies the file (none when path is ""), the environment in the form of
// os.Environ, and the flags that were parsed. The error joins one *Problem for
// everything that is wrong; the other knobs are set all the same. Variables
// with the prefix that name no knob, nor anything in known, come back as
// warnings: they are too easily inherited to be an error.
func (s *Set) Load(path string, environ []string, known ...string) (warnings []*Problem, err error) {
	var problems []*Problem
	if path != "" {
		text, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		problems = s.loadFile(path, text)
	}
	bad, warnings := s.loadEnv(environ, known)
	problems = append(problems, bad...)
	for _, k := range s.knobs {
		if k.flag == nil {
			continue
		}
		if err := k.Value.Set(*k.flag); err != nil {
			panic("knob: a flag's text was good once and is not now: " + err.Error())
		}
		k.source = Source{Origin: FromFlag, Name: "--" + k.Name}
	}
	return warnings, join(problems)
}

func (s *Set) loadEnv(environ, known []string) (bad, warnings []*Problem) {
	byEnv := make(map[string]*Knob, len(s.knobs))
	names := slices.Clone(known)
	for _, k := range s.knobs {
		byEnv[s.Env(k.Name)] = k
		names = append(names, s.Env(k.Name))
	}
	for _, entry := range slices.Sorted(slices.Values(environ)) {
		name, text, _ := strings.Cut(entry, "=")
		if !strings.HasPrefix(name, s.prefix) || slices.Contains(known, name) {
			continue
		}
		source := Source{Origin: FromEnv, Name: name}
		k := byEnv[name]
		if k == nil {
			warnings = append(warnings, &Problem{source, "no such setting" + suggest(name, names)})
			continue
		}
		if err := k.Value.Set(text); err != nil {
			bad = append(bad, &Problem{source, k.refusal(err)})
			continue
		}
		k.source = source
	}
	return bad, warnings
}

// refusal words an error of Value.Set; the text of a secret stays out of it.
func (k *Knob) refusal(err error) string {
	if k.Secret {
		return "the value cannot be used"
	}
	return err.Error()
}

// Blame runs check and, where it fails, says which knobs are behind it: those
// whose return to their default changes the verdict. So that the rules stay
// with the packages that the knobs configure, and the user still learns which
// line to mend. Every knob has its value again when Blame returns.
func (s *Set) Blame(check func() error) error {
	verdict := check()
	if verdict == nil {
		return nil
	}
	var problems []*Problem
	for _, k := range s.knobs {
		if k.source.Origin == FromDefault {
			continue
		}
		value := k.Value.String()
		k.mustSet(k.def)
		err := check()
		k.mustSet(value)
		if err == nil || err.Error() != verdict.Error() {
			text := verdict.Error()
			if k.source.Origin == FromFile { // the name of any other source says it
				text = k.Name + ": " + text
			}
			problems = append(problems, &Problem{k.source, text})
		}
	}
	if problems == nil {
		return verdict
	}
	return join(problems)
}

func (k *Knob) mustSet(text string) {
	if err := k.Value.Set(text); err != nil {
		panic(fmt.Sprintf("knob: %s does not read back what it prints: %v", k.Name, err))
	}
}

func join(problems []*Problem) error {
	errs := make([]error, len(problems))
	for i, p := range problems {
		errs[i] = p
	}
	return errors.Join(errs...)
}
