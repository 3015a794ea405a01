package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// The arrows of design.md §2 as a test. To change one, change it here first
// and say why in the commit.

const module = "github.com/holdfast-authz/holdfast/"

// pure packages decide or know; they do no I/O and have no clock of their own.
var pure = []string{
	"cache", "cache/jose", "extauthz", "extauthz/reason", "extauthz/token", "extauthz/proof", "extauthz/wire",
}

// pureMayNot are the imports that no pure package may have.
var pureMayNot = []string{"net", "net/http", "os", "log", "log/slog", "google.golang.org/grpc", "github.com/nats-io"}

// home is where a heavy dependency lives; nobody else imports it. cmd and
// examples wire and show: they are named where they do.
var home = map[string][]string{
	"google.golang.org/grpc":                 {"extauthz/server", "extauthz/extauthztest", "cmd/internal/bench"},
	"github.com/go-jose/go-jose":             {}, // in tests, to compare with
	"github.com/golang-jwt/jwt":              {"cache/jose", "examples/issuer", "extauthz/extauthztest"},
	"github.com/allegro/bigcache":            {"cache/memo"},
	"github.com/nats-io":                     {"cache/feed"},
	"github.com/prometheus/client_golang":    {"cmd/internal/observe"},
	"github.com/envoyproxy/go-control-plane": {"extauthz/extauthztest", "cmd/internal/bench", "envoy"},
	"github.com/spf13/cobra":                 {"cmd/holdfast"},
	"go.yaml.in/yaml":                        {"cmd/internal/config", "cmd/holdfast", "envoy", "cache/apikeys"}, // a file that is watched beside the configuration
}

// mayImport gives, for a package of ours, the packages of ours that it may import.
func mayImport(from, to string) bool {
	switch {
	case isUnder(to, "cmd"):
		return isUnder(from, "cmd")
	case isUnder(to, "extauthz/extauthztest"):
		return isUnder(from, "cmd/internal/bench") || isUnder(from, "extauthz/extauthztest")
	case isUnder(from, "cmd"):
		return true
	case isUnder(from, "examples"):
		return isUnder(to, "examples") || isUnder(to, "envoy")
	case isUnder(from, "envoy"):
		return isUnder(to, "envoy")
	case isUnder(from, "extauthz"):
		return isUnder(to, "cache") && (to == "cache" || to == "cache/jose") || isUnder(to, "extauthz")
	case isUnder(from, "cache"):
		if to == "cache/file" { // how watched files are read
			return from == "cache/jwks" || from == "cache/apikeys" || from == "cache/introspect"
		}
		if to == "cache/dial" { // which addresses are connected to
			return from == "cache/jwks" || from == "cache/introspect" || from == "cache/statuslist"
		}
		return to == "cache" || to == "cache/jose" && from != "cache" || isUnder(to, "cache/cachetest") && isUnder(from, "cache/cachetest")
	}
	return false
}

func isUnder(pkg, folder string) bool { return pkg == folder || strings.HasPrefix(pkg, folder+"/") }

type goFile struct {
	pkg, path string
	test      bool
	ast       *ast.File
}

func goFiles(t *testing.T) (files []goFile) {
	t.Helper()
	root := filepath.Join("..", "..")
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (strings.HasPrefix(d.Name(), ".") && path != root || d.Name() == "testdata") {
			return filepath.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(path, ".go") {
			return nil
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, filepath.Dir(path))
		if err != nil {
			return err
		}
		files = append(files, goFile{filepath.ToSlash(rel), path, strings.HasSuffix(path, "_test.go"), parsed})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(files) < 20 {
		t.Fatalf("found only %d files: the test looks in the wrong place", len(files))
	}
	return files
}

func imports(f *ast.File) (paths []string) {
	for _, spec := range f.Imports {
		if path, err := strconv.Unquote(spec.Path.Value); err == nil {
			paths = append(paths, path)
		}
	}
	return paths
}

func TestArrows(t *testing.T) {
	for _, f := range goFiles(t) {
		if f.test {
			continue
		}
		for _, path := range imports(f.ast) {
			to, ours := strings.CutPrefix(path, module)
			if ours && to != f.pkg && !mayImport(f.pkg, to) {
				t.Errorf("%s: %s may not import %s", f.path, f.pkg, to)
			}
			if slices.Contains(pure, f.pkg) {
				for _, bad := range pureMayNot {
					if path == bad || strings.HasPrefix(path, bad+"/") && bad != "net" && bad != "log" && bad != "os" {
						t.Errorf("%s: pure package %s may not import %s", f.path, f.pkg, path)
					}
				}
			}
			for dep, homes := range home {
				if isUnder(path, dep) && !slices.ContainsFunc(homes, func(h string) bool { return isUnder(f.pkg, h) }) {
					t.Errorf("%s: %s lives in %v only", f.path, dep, homes)
				}
			}
		}
	}
}

// TestPureHasNoClock: pure code takes now as an argument.
func TestPureHasNoClock(t *testing.T) {
	for _, f := range goFiles(t) {
		if f.test || !slices.Contains(pure, f.pkg) {
			continue
		}
		ast.Inspect(f.ast, func(n ast.Node) bool {
			call, ok := n.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			if pkg, ok := call.X.(*ast.Ident); ok && pkg.Name == "time" &&
				slices.Contains([]string{"Now", "Since", "Until", "After", "Tick", "NewTimer", "NewTicker", "Sleep"}, call.Sel.Name) {
				t.Errorf("%s: pure package %s calls time.%s", f.path, f.pkg, call.Sel.Name)
			}
			if _, isGo := n.(*ast.GoStmt); isGo {
				t.Errorf("%s: pure package %s starts a goroutine", f.path, f.pkg)
			}
			return true
		})
	}
}

// TestTopLevel: the top level holds what the user asked for and nothing else.
func TestTopLevel(t *testing.T) {
	want := []string{"cmd", "extauthz", "cache", "examples", "envoy", "go.mod", "go.sum", "Makefile", "README.md"}
	entries, err := os.ReadDir(filepath.Join("..", ".."))
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, e := range entries {
		seen[e.Name()] = true
		if !slices.Contains(want, e.Name()) && !strings.HasPrefix(e.Name(), ".") && e.Name() != "bin" {
			t.Errorf("top level holds %s", e.Name())
		}
	}
	for _, name := range want {
		if !seen[name] {
			t.Errorf("top level lacks %s", name)
		}
	}
}
