package extauthz_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// standards are the lines that STANDARDS.md has to have: of each section the
// numbered ones, then those of tables and pitfalls.
var standards = []struct {
	section string
	lines   int
	also    []string
}{
	{"0", 5, append(numbered("t", 12), numbered("p", 20)...)},
	{"1", 4, numbered("p", 3)},
	{"2", 13, nil},
	{"3", 8, numbered("p", 3)},
	{"4", 2, numbered("p", 3)},
	{"5", 16, numbered("p", 9)},
	{"6", 9, numbered("p", 3)},
	{"7", 5, []string{"0"}},
	{"9", 5, append(numbered("p", 4), "0", "9728")},
	{"10", 7, []string{"9701", "7009"}},
	{"16", 12, numbered("p", 3)},
	{"20", 8, nil},
}

func numbered(prefix string, n int) (all []string) {
	for i := range n {
		all = append(all, prefix+strconv.Itoa(i+1))
	}
	return all
}

// suite is the tests of one package.
type suite struct {
	dir   string
	tests map[string]string // name -> text
	data  string            // what lies around them: tables outside of functions, testdata
}

// suites finds the tests of the repository, by the last element of their folder.
func suites(t *testing.T) map[string]*suite {
	t.Helper()
	all := map[string]*suite{}
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (strings.HasPrefix(d.Name(), ".") && path != ".." || d.Name() == "testdata" || d.Name() == "examples"):
			return filepath.SkipDir
		case d.IsDir() || !strings.HasSuffix(path, "_test.go"):
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		set := token.NewFileSet()
		file, err := parser.ParseFile(set, path, text, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		dir := filepath.Dir(path)
		name := filepath.Base(dir)
		if dir == ".." {
			name = "."
		}
		s := all[name]
		if s == nil {
			s = &suite{dir: dir, tests: map[string]string{}}
			all[name] = s
			data, err := filepath.Glob(filepath.Join(dir, "testdata", "*.json"))
			if err != nil {
				return err
			}
			for _, one := range data {
				doc, err := os.ReadFile(one)
				if err != nil {
					return err
				}
				s.data += string(doc)
			}
		}
		if s.dir != dir {
			return fmt.Errorf("%s and %s have one name", s.dir, dir)
		}
		for _, decl := range file.Decls {
			own := string(text[set.Position(decl.Pos()).Offset:set.Position(decl.End()).Offset])
			switch f, is := decl.(*ast.FuncDecl); {
			case !is:
				s.data += own
			case f.Recv == nil && (strings.HasPrefix(f.Name.Name, "Test") || strings.HasPrefix(f.Name.Name, "Fuzz")):
				s.tests[f.Name.Name] = own
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

var (
	standardRow = regexp.MustCompile(`(?m)^\| ([0-9]+\.[a-z0-9]+) \| (.+?) \| (.+) \|$`)
	heldBy      = regexp.MustCompile("`([a-z]+)\\.((?:Test|Fuzz)\\w+)(?:/([^`]+))?`")
)

// TestStandards holds STANDARDS.md to what is there: each line has its row, and
// each row a test that exists or a reason why the line is not ours.
func TestStandards(t *testing.T) {
	doc, err := os.ReadFile("STANDARDS.md")
	if err != nil {
		t.Fatal(err)
	}
	all := suites(t)
	var want, got []string
	for _, s := range standards {
		for _, line := range append(numbered("", s.lines), s.also...) {
			want = append(want, s.section+"."+line)
		}
	}
	for _, row := range standardRow.FindAllStringSubmatch(string(doc), -1) {
		line, held := row[1], row[3]
		got = append(got, line)
		tests := heldBy.FindAllStringSubmatch(held, -1)
		if why, is := strings.CutPrefix(held, "non-goal"); len(tests) == 0 && (!is || len(why) < 15) {
			t.Errorf("%s: neither a test nor a reason: %s", line, held)
		}
		if strings.Contains(held, "PENDING") {
			t.Errorf("%s: not settled: %s", line, held)
		}
	}
	slices.Sort(want)
	slices.Sort(got)
	for _, line := range want {
		if !slices.Contains(got, line) {
			t.Errorf("%s has no row", line)
		}
	}
	for i, line := range got {
		if !slices.Contains(want, line) || i > 0 && got[i-1] == line {
			t.Errorf("%s is no line, or has two rows", line)
		}
	}
	named := 0
	for _, test := range heldBy.FindAllStringSubmatch(string(doc), -1) {
		pkg, name, sub := test[1], test[2], test[3]
		if pkg == "package" {
			continue // how a test is named, in the text above the tables
		}
		named++
		s := all[pkg]
		if s == nil || s.tests[name] == "" {
			t.Errorf("%s.%s: there is no such test", pkg, name)
			continue
		}
		if quoted := strconv.Quote(sub); sub != "" && !strings.Contains(s.tests[name], quoted) && !strings.Contains(s.data, quoted) {
			t.Errorf("%s.%s: no case %q", pkg, name, sub)
		}
	}
	if named < 250 {
		t.Errorf("only %d tests are named", named)
	}
	for _, code := range regexp.MustCompile("`[a-z]+\\.[A-Z]\\w+").FindAllString(string(doc), -1) {
		if !regexp.MustCompile("^`[a-z]+\\.(Test|Fuzz)").MatchString(code) {
			t.Errorf("%s` is no test", code)
		}
	}
}
