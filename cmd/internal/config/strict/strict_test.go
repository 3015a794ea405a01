package strict_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-authz/holdfast/cmd/internal/config/strict"
)

type house struct {
	Doors []door `yaml:"doors" jsonschema:"minItems=1"`
}

type door struct {
	Name string        `yaml:"name" jsonschema:"required"`
	Mode string        `yaml:"mode" jsonschema:"enum=open,enum=shut" later:"ajar"`
	Wait time.Duration `yaml:"wait"`
}

func (d *door) SetDefaults() { d.Mode, d.Wait = "shut", 30*time.Second }

func Example() {
	var h house
	f := strict.Parse("house.yaml", []byte(`
doors:
  - name: front
    wait: 1m
  - mode: opne
    weight: 5
  - {name: side, mode: ajar}
`), &h)
	if h.Doors[0].Wait > 45*time.Second {
		f.Say("doors[0].wait", "%s is kept open too long", h.Doors[0].Name)
	}
	for _, p := range f.Problems() {
		fmt.Println(p)
	}
	// Output:
	// house.yaml:4:11: front is kept open too long
	//         wait: 1m
	//               ^
	// house.yaml:5:5: doors[1].name is missing
	//       - mode: opne
	//         ^
	// house.yaml:5:11: doors[1].mode is "opne": use open or shut; did you mean open?
	//       - mode: opne
	//               ^
	// house.yaml:6:5: unknown key "weight" in doors[1]: it knows name, mode, wait
	//         weight: 5
	//         ^
	// house.yaml:7:24: doors[2].mode: ajar is not supported by this version of holdfast: use open or shut
	//       - {name: side, mode: ajar}
	//                            ^
}

func ExampleDump() {
	var h house
	f := strict.Parse("house.yaml", []byte("doors: [{name: front, wait: 60s}]\n"), &h)
	set, _ := strict.Dump(&h, f)
	all, _ := strict.Dump(&h, nil)
	fmt.Printf("%s---\n%s", set, all)
	// Output:
	// doors:
	// - name: front
	//   wait: 1m
	// ---
	// doors:
	// - name: front
	//   mode: shut
	//   wait: 1m
}

func TestDidYouMean(t *testing.T) {
	words := []string{"max_age", "max_auth_age", "audiences", "issuer", "max_mb", "ES256", ""}
	for word, want := range map[string]string{
		"maxage":    "max_age",
		"maxAge":    "max_age",
		"MAX_AGE":   "max_age",
		"max-age":   "max_age",
		"mxa_age":   "max_age",
		"audience":  "audiences",
		"aud":       "audiences",
		"isuer":     "issuer",
		"isseur":    "issuer",
		"max_nb":    "max_mb",
		"es265":     "ES256",
		"a":         "",
		"":          "",
		"subject":   "",
		"something": "",
		"日本語":       "",
	} {
		got := strings.TrimSuffix(strings.TrimPrefix(strict.DidYouMean(word, words), "; did you mean "), "?")
		if got != want {
			t.Errorf("%q: did you mean %q, want %q", word, got, want)
		}
	}
	if got := strict.DidYouMean(strings.Repeat("x", 1<<20), words); got != "" {
		t.Error(got)
	}
}

func TestProblemString(t *testing.T) {
	at := func(column int, text string) strict.Problem {
		return strict.Problem{File: "f", Line: 1, Column: column, Message: "m", Text: text}
	}
	long := strings.Repeat("a", 300)
	for name, c := range map[string]struct {
		p    strict.Problem
		want string
	}{
		"file":       {strict.Problem{File: "f", Message: "m"}, "f: m"},
		"blank line": {at(1, "  "), "f:1:1: m"},
		"start":      {at(1, "abc"), "f:1:1: m\n    abc\n    ^"},
		"past end":   {at(9, "abc"), "f:1:9: m\n    abc\n       ^"},
		"wide":       {at(3, "äö: x"), "f:1:3: m\n    äö: x\n      ^"},
		"tab":        {at(2, "\tx"), "f:1:2: m\n     x\n     ^"},
		"control":    {at(2, "\x1b[2J"), "f:1:2: m\n    ·[2J\n     ^"},
		"long start": {at(3, long), "f:1:3: m\n    " + long[:120] + "…\n      ^"},
		"long end":   {at(300, long), "f:1:300: m\n    …" + long[:120] + "\n    " + strings.Repeat(" ", 120) + "^"},
	} {
		if got := c.p.String(); got != c.want {
			t.Errorf("%s: got\n%s\nwant\n%s", name, got, c.want)
		}
	}
}
