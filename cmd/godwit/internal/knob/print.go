package knob

import (
	"fmt"
	"io"
	"strconv"
	"strings"
)

// Redacted stands for the value of a secret that is set.
const Redacted = "(redacted)"

// Print writes every knob's value in the file's form, with its source in a
// comment behind it. A secret is commented out, so that what was printed can
// be used as a file.
func (s *Set) Print(w io.Writer) error {
	var b strings.Builder
	s.sections(func(section string, knobs []*Knob) {
		fmt.Fprintf(&b, "\n# %s\n", section)
		width := 0
		lines := make([]string, len(knobs))
		for i, k := range knobs {
			lines[i] = k.Name + " = " + k.literal(k.Value.String())
			if k.Secret {
				lines[i] = "# " + k.Name + " = " + k.secret()
			}
			width = max(width, len(lines[i]))
		}
		for i, k := range knobs {
			fmt.Fprintf(&b, "%-*s  # %s\n", width, lines[i], k.source)
		}
	})
	_, err := io.WriteString(w, b.String()[1:])
	return err
}

// Markdown writes the reference table of the knobs and their defaults.
func (s *Set) Markdown(w io.Writer) error {
	var b strings.Builder
	s.sections(func(section string, knobs []*Knob) {
		fmt.Fprintf(&b, "\n## %s\n\n| Key | Default | What it does |\n| --- | --- | --- |\n", section)
		for _, k := range knobs {
			doc := strings.ToUpper(k.Doc[:1]) + strings.ReplaceAll(k.Doc[1:], "|", `\|`)
			fmt.Fprintf(&b, "| `%s` | `%s` | %s. |\n", k.Name, k.literal(k.def), doc)
		}
	})
	_, err := io.WriteString(w, b.String()[1:])
	return err
}

func (s *Set) sections(f func(section string, knobs []*Knob)) {
	for i := 0; i < len(s.knobs); {
		j := i
		for j < len(s.knobs) && s.knobs[j].Section == s.knobs[i].Section {
			j++
		}
		f(s.knobs[i].Section, s.knobs[i:j])
		i = j
	}
}

// literal is text as a TOML value of the knob's kind.
func (k *Knob) literal(text string) string {
	switch k.Value.Type() {
	case "bool", "int", "float":
		return text
	}
	return strconv.Quote(text)
}

func (k *Knob) secret() string {
	if k.Value.String() == "" {
		return "(not set)"
	}
	return Redacted
}
