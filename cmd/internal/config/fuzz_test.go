package config

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"
)

// FuzzLoad: no input makes Parse panic. It gives a Config or problems, never
// both or neither; each problem has its place; and an accepted Config means the
// same after it was printed.
func FuzzLoad(f *testing.F) {
	for _, src := range good(f) {
		f.Add(string(src))
	}
	files, err := filepath.Glob("testdata/bad/*.txt")
	if err != nil || len(files) == 0 {
		f.Fatal("no cases", err)
	}
	for _, file := range files {
		archive, err := txtar.ParseFile(file)
		if err != nil {
			f.Fatal(err)
		}
		for _, c := range archive.Files {
			if !strings.HasSuffix(c.Name, ".out") {
				f.Add(string(c.Data) + minimal)
			}
		}
	}
	f.Fuzz(func(t *testing.T, src string) {
		c, problems := Parse("f.yaml", []byte(src))
		if (c == nil) == (len(problems) == 0) {
			t.Fatalf("config %v, problems %v", c, problems)
		}
		for i, p := range problems {
			if p.Line < 1 || p.Column < 1 || p.Message == "" {
				t.Errorf("no place or message: %#v", p)
			}
			if strings.ContainsAny(p.String(), "\x00\x1b\r") {
				t.Errorf("raw control characters in %q", p.String())
			}
			if i > 0 && p.Line < problems[i-1].Line {
				t.Errorf("not sorted: %v", problems)
			}
		}
		if c == nil {
			return
		}
		routesCompile(t, c)
		for _, effective := range []bool{true, false} {
			out, err := c.YAML(effective)
			if err != nil {
				t.Fatal(err)
			}
			again, problems := Parse("f.yaml", out)
			if len(problems) > 0 {
				t.Fatalf("effective %v: printed, it is refused: %v\n%s", effective, problems, out)
			}
			if diff := cmp.Diff(c, again, sameConfig); diff != "" {
				t.Fatalf("effective %v: print changed it:\n%s\n%s", effective, diff, out)
			}
		}
	})
}
