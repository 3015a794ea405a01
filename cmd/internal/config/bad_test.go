package config

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"
)

var rewrite = flag.Bool("rewrite", false, "write what testdata/bad expects anew; read the difference")

// minimal is what a file needs to be valid. It is added below the cases named
// *.part, where it moves no line.
const minimal = "issuers: [{issuer: https://idp.example, audiences: [https://api.example]}]\nclasses: [{name: all}]\n"

// TestBad holds the messages about bad files to testdata/bad: each case is a
// file, followed by what is said about it. A file must not be accepted, and
// never anything is said of the minimal lines.
func TestBad(t *testing.T) {
	files, err := filepath.Glob("testdata/bad/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal("no cases", err)
	}
	cases := 0
	for _, file := range files {
		archive, err := txtar.ParseFile(file)
		if err != nil {
			t.Fatal(err)
		}
		want := map[string]string{}
		var names []txtar.File
		for _, f := range archive.Files {
			if name, isWant := strings.CutSuffix(f.Name, ".out"); isWant {
				want[name] = string(f.Data)
			} else {
				names = append(names, f)
			}
		}
		out := &txtar.Archive{Comment: archive.Comment}
		for _, f := range names {
			cases++
			name := strings.TrimSuffix(strings.TrimSuffix(f.Name, ".yaml"), ".part")
			var got bytes.Buffer
			t.Run(strings.TrimSuffix(filepath.Base(file), ".txt")+"/"+name, func(t *testing.T) {
				src := f.Data
				if strings.HasSuffix(f.Name, ".part") {
					src = append(bytes.Clone(src), minimal...)
				}
				c, problems := Parse("f.yaml", src)
				if c != nil || len(problems) == 0 {
					t.Error("accepted")
				}
				for _, p := range problems {
					got.WriteString(p.String() + "\n")
				}
				if diff := cmp.Diff(want[name], got.String()); diff != "" && !*rewrite {
					t.Errorf("-want +got (go test -rewrite writes it anew):\n%s", diff)
				}
			})
			out.Files = append(out.Files, f, txtar.File{Name: name + ".out", Data: got.Bytes()})
		}
		if *rewrite {
			if err := os.WriteFile(file, txtar.Format(out), 0o666); err != nil {
				t.Fatal(err)
			}
		}
	}
	if cases < 100 {
		t.Errorf("only %d cases", cases)
	}
}
