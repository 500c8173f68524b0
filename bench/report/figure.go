package report

import "fmt"

// Better says which way a figure improves.
type Better string

// The two ways.
const (
	BetterHigher Better = "higher"
	BetterLower  Better = "lower"
)

// Figure is one result of a run.
type Figure struct {
	// Name is the same in every run of the scenario: Diff matches by it.
	Name   string  `json:"name"`
	Unit   string  `json:"unit"`
	Value  float64 `json:"value"`
	Better Better  `json:"better"`
	// Headline figures are shown large at the top of the page.
	Headline bool `json:"headline,omitempty"`
	// Of is what the machine, or a peer, does with less or other work.
	Of     *Ceiling `json:"of,omitempty"`
	Target *Target  `json:"target,omitempty"`
}

// Ceiling is a measured bound for a figure, in the figure's unit and from the
// same run on the same machine.
type Ceiling struct {
	Name  string  `json:"name"`
	Value float64 `json:"value"`
	// Ratio is the figure's value divided by the ceiling's; 0 where the
	// ceiling is 0.
	Ratio float64 `json:"ratio"`
}

// Target is what a figure should be.
type Target struct {
	Text string `json:"text"`
	Met  bool   `json:"met"`
}

// Higher is a figure that is better when it is higher.
func Higher(name, unit string, value float64) Figure {
	return Figure{Name: name, Unit: unit, Value: value, Better: BetterHigher}
}

// Lower is a figure that is better when it is lower.
func Lower(name, unit string, value float64) Figure {
	return Figure{Name: name, Unit: unit, Value: value, Better: BetterLower}
}

// AsHeadline returns the figure as one of the few that sum up the run.
func (f Figure) AsHeadline() Figure {
	f.Headline = true
	return f
}

// OfCeiling returns the figure with what it is measured against.
func (f Figure) OfCeiling(name string, value float64) Figure {
	f.Of = &Ceiling{Name: name, Value: value}
	if value != 0 {
		f.Of.Ratio = f.Value / value
	}
	return f
}

// Want returns the figure with a bound for its value: at least limit where
// higher is better, else at most limit.
func (f Figure) Want(limit float64) Figure {
	f.Target = &Target{Text: f.sign() + " " + formatValue(limit, f.Unit), Met: f.meets(f.Value, limit)}
	return f
}

// WantRatio returns the figure with a bound for its ratio to the ceiling,
// which must have been given before: at least limit where higher is better,
// else at most limit. Without a measured ceiling the target is missed.
func (f Figure) WantRatio(limit float64) Figure {
	f.Target = &Target{Text: f.sign() + " " + formatRatio(limit)}
	if f.Of != nil {
		f.Target.Text += " of " + f.Of.Name
		f.Target.Met = f.Of.Value != 0 && f.meets(f.Of.Ratio, limit)
	}
	return f
}

// WithTarget returns the figure with a target of any kind.
func (f Figure) WithTarget(met bool, format string, args ...any) Figure {
	f.Target = &Target{Text: fmt.Sprintf(format, args...), Met: met}
	return f
}

func (f Figure) sign() string {
	if f.Better == BetterLower {
		return "≤"
	}
	return "≥"
}

func (f Figure) meets(value, limit float64) bool {
	if f.Better == BetterLower {
		return value <= limit
	}
	return value >= limit
}
