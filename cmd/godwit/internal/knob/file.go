package knob

import (
	"errors"
	"fmt"
	"strings"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"
)

// loadFile applies a TOML document. Decoding into a map first finds what is
// not TOML at all, and keys given twice; the syntax tree then tells where each
// key stands.
func (s *Set) loadFile(path string, text []byte) (problems []*Problem) {
	if err := toml.Unmarshal(text, &map[string]any{}); err != nil {
		source := Source{Origin: FromFile, Name: path, Line: 1, Column: 1}
		var at *toml.DecodeError
		if errors.As(err, &at) {
			source.Line, source.Column = at.Position()
		}
		return []*Problem{{source, strings.TrimPrefix(err.Error(), "toml: ")}}
	}
	var p unstable.Parser
	p.Reset(text)
	table := ""
	for p.NextExpression() {
		e := p.Expression()
		key, start := keyOf(&p, e)
		source := Source{Origin: FromFile, Name: path, Line: start.Line, Column: start.Column}
		if e.Kind != unstable.KeyValue {
			table = key + "."
			continue
		}
		if err := s.assign(table+key, e.Value(), source); err != nil {
			problems = append(problems, &Problem{source, err.Error()})
		}
	}
	return problems
}

// keyOf is the expression's key, its parts joined by dots, and its place.
func keyOf(p *unstable.Parser, e *unstable.Node) (key string, start unstable.Position) {
	var parts []string
	for it := e.Key(); it.Next(); {
		if parts == nil {
			start = p.Shape(it.Node().Raw).Start
		}
		parts = append(parts, string(it.Node().Data))
	}
	return strings.Join(parts, "."), start
}

func (s *Set) assign(key string, value *unstable.Node, source Source) error {
	k := s.byName[key]
	if k == nil {
		names := make([]string, len(s.knobs))
		for i, k := range s.knobs {
			names[i] = k.Name
		}
		return fmt.Errorf("no such key %q%s", key, suggest(key, names))
	}
	if err := checkKind(k, value.Kind); err != nil {
		return fmt.Errorf("%s: %w", key, err)
	}
	if err := k.Value.Set(string(value.Data)); err != nil {
		return fmt.Errorf("%s: %s", key, k.refusal(err))
	}
	k.source = source
	return nil
}

// checkKind holds a value to TOML's types, so that the file means to a TOML
// reader what it means here.
func checkKind(k *Knob, kind unstable.Kind) error {
	var want string
	var ok bool
	switch k.Value.Type() {
	case "bool":
		want, ok = "true or false", kind == unstable.Bool
	case "int":
		want, ok = "a whole number", kind == unstable.Integer
	case "float":
		want, ok = "a number", kind == unstable.Integer || kind == unstable.Float
	case "size":
		want, ok = `a size in quotes, such as "256KiB", or a number of bytes`, kind == unstable.String || kind == unstable.Integer
	case "duration":
		want, ok = `a duration in quotes, such as "30s" or "1h30m"`, kind == unstable.String
	default:
		want, ok = "text in quotes", kind == unstable.String
	}
	if !ok {
		return errors.New("wants " + want)
	}
	return nil
}
