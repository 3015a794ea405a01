package config

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// refused loads a file and gives what is said about it, one line a problem.
func refused(t *testing.T, path string) string {
	t.Helper()
	c, problems := Load(path)
	if c != nil || len(problems) == 0 {
		t.Fatalf("%s was accepted", path)
	}
	var lines []string
	for _, p := range problems {
		lines = append(lines, strings.ReplaceAll(p.Summary(), filepath.Dir(path)+string(filepath.Separator), ""))
	}
	return strings.Join(lines, "\n")
}

func write(t *testing.T, name, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestLoadNoFile(t *testing.T) {
	dir := t.TempDir()
	if got := refused(t, filepath.Join(dir, "none.yaml")); got != "none.yaml: cannot open it: no such file or directory" {
		t.Error(got)
	}
	if got := refused(t, dir+"/."); !strings.HasSuffix(got, "is a directory, not a configuration file") {
		t.Error(got)
	}
	if got := refused(t, write(t, "big.yaml", strings.Repeat("# 10 MB\n", 10<<20/8))); got != "big.yaml: is larger than 1 MiB: this is no configuration file" {
		t.Error(got)
	}
}

func TestLoadBytes(t *testing.T) {
	for name, c := range map[string]struct{ src, want string }{
		"latin1":   {"mode: enforce\n# caf\xe9\n" + minimal, "f.yaml:2:6: not UTF-8: save the file as UTF-8"},
		"utf16":    {"\xff\xfem\x00o\x00", "f.yaml:1:1: not UTF-8: save the file as UTF-8"},
		"nul":      {"mode: enforce\ndrain: \x00\n", "f.yaml:2:8: a control character, which YAML does not allow"},
		"escape":   {"mode: \x1b[2J\n", "f.yaml:1:7: a control character, which YAML does not allow"},
		"late bom": {"mode: enforce\n\ufeffdrain: {}\n", "f.yaml:2:1: a control character, which YAML does not allow"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := refused(t, write(t, "f.yaml", c.src)); got != c.want {
				t.Errorf("got %s", got)
			}
		})
	}
}

// TestProblemIsPlain: what is shown of a line cannot move a cursor or end a line.
func TestProblemIsPlain(t *testing.T) {
	_, problems := Parse("f.yaml", []byte("x: 1\n\"\\e[2J\": 2\n\"\\e[2J\": 2\nroutes: \"a\\rb\"\n"))
	if len(problems) < 4 {
		t.Errorf("only %v", problems)
	}
	for _, p := range problems {
		if s := p.String(); strings.ContainsAny(s, "\x1b\x07\r") {
			t.Errorf("%q", s)
		}
	}
}

// TestLoadBombs: small files that stand for huge ones end soon, and are refused.
func TestLoadBombs(t *testing.T) {
	var laughs strings.Builder
	laughs.WriteString("issuers:\n- &i0 {issuer: https://a.example, audiences: &a [")
	laughs.WriteString(strings.Repeat("x, ", 30_000) + "x]}\n")
	laughs.WriteString(strings.Repeat("- {issuer: https://a.example, audiences: *a}\n", 1000))
	for name, src := range map[string]string{
		"laughs": laughs.String(),
		"claims": "classes:\n- {name: a, match: {claims: {a: &a [" + strings.Repeat("1, ", 30_000) + "1]" + ", b: *a, c: *a" + "}}}\n" + minimal,
		"cycle":  "issuers: &x [*x, *x]\n",
		"cycle2": "routes: &r\n- {name: a, match: *r}\n",
		"deep":   strings.Repeat("[", 100_000),
		"deep2":  strings.Repeat("{a: ", 100_000),
		"keys":   strings.Repeat("mode: enforce\n", 10_000),
		"wrong":  "routes:\n" + strings.Repeat("- {name: ''}\n", 18_000),
		"lines":  strings.Repeat("\n", 100_000),
	} {
		t.Run(name, func(t *testing.T) {
			c, problems := Parse("f.yaml", []byte(src))
			if c != nil || len(problems) == 0 || len(problems) > maxProblems+1 {
				t.Errorf("%d problems", len(problems))
			}
		})
	}
}

// maxProblems is how many strict shows of one file.
const maxProblems = 200

func TestLoadManyProblems(t *testing.T) {
	_, problems := Parse("f.yaml", []byte("limits:\n"+strings.Repeat("  x: 1\n", 500)+minimal))
	if len(problems) != maxProblems+1 {
		t.Fatalf("%d problems", len(problems))
	}
	if got, want := problems[maxProblems].Message, "and 300 more problems from here on: mend those above first"; got != want {
		t.Errorf("got %q", got)
	}
}

func TestLoadManyClassesAndRoutes(t *testing.T) {
	var classes, routes strings.Builder
	for i := range maxClasses + 1 {
		fmt.Fprintf(&classes, "- {name: c%d, match: {clients: c%d}}\n", i, i)
	}
	for i := range maxRoutes + 1 {
		fmt.Fprintf(&routes, "- {name: r%d, match: [{paths: /r%d}]}\n", i, i)
	}
	src := "issuers: [{issuer: https://idp.example, audiences: [api]}]\nclasses:\n" + classes.String() + "routes:\n" + routes.String()
	want := "f.yaml:67:3: 65 classes: there may be at most 64\nf.yaml:1069:3: 1001 routes: there may be at most 1000"
	if got := refused(t, write(t, "f.yaml", src)); got != want {
		t.Errorf("got %s", got)
	}
}

// TestLoadFiles: what the configuration names must be there. Relative paths
// begin in the working directory.
func TestLoadFiles(t *testing.T) {
	t.Chdir(t.TempDir())
	for name, content := range map[string]string{
		"keys.json": `{"keys":[]}`, "empty": "", "token": "s3cret\n", "two": "a b\n", "text": "no PEM", "data/feed.key": strings.Repeat("ab", 32), "bad.key": "x", "blank": "\n",
	} {
		if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cert, key := pair(t)
	_, other := pair(t)
	for name, content := range map[string][]byte{"tls.crt": cert, "tls.key": key, "other.key": other} {
		if err := os.WriteFile(name, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	tls := func(s string) string { return "listen: {check: {tls: {" + s + "}}}" }
	const where = " (relative paths begin in the directory that holdfast is started in)"
	for name, c := range map[string]struct{ src, want string }{
		"jwks missing":     {"jwks_file: none.json", "issuers[0].jwks_file: \"none.json\" does not exist" + where},
		"jwks missing abs": {"jwks_file: /none/none.json", "issuers[0].jwks_file: \"/none/none.json\" does not exist"},
		"jwks directory":   {"jwks_file: data", "issuers[0].jwks_file: \"data\" is a directory"},
		"jwks empty":       {"jwks_file: empty", "issuers[0].jwks_file: \"empty\" is empty"},
		"jwks device":      {"jwks_file: /dev/null", "issuers[0].jwks_file: \"/dev/null\" is not a regular file"},
		"jwks":             {"jwks_file: keys.json", ""},
		"token missing":    {"listen: {admin: {token_file: none}}", "listen.admin.token_file: \"none\" does not exist" + where},
		"token empty":      {"listen: {admin: {token_file: empty}}", "listen.admin.token_file: \"empty\" is empty"},
		"token words":      {"listen: {admin: {token_file: two}}", "listen.admin.token_file \"two\" must hold one token, without spaces"},
		"token":            {"listen: {admin: {token_file: token, address: \"0.0.0.0:1\"}}", ""},
		"tls missing":      {tls("cert_file: a, key_file: b"), "listen.check.tls.cert_file: \"a\" does not exist" + where + "\nlisten.check.tls.key_file: \"b\" does not exist" + where},
		"tls text":         {tls("cert_file: text, key_file: tls.key"), "listen.check.tls: cert_file and key_file are no pair: failed to find any PEM data in certificate input"},
		"tls other key":    {tls("cert_file: tls.crt, key_file: other.key"), "listen.check.tls: cert_file and key_file are no pair: private key does not match public key"},
		"tls no ca":        {tls("cert_file: tls.crt, key_file: tls.key, client_ca_file: text"), "listen.check.tls.client_ca_file: \"text\" has no certificate in PEM form"},
		"tls":              {tls("cert_file: tls.crt, key_file: tls.key, client_ca_file: tls.crt"), ""},
		"tls admin":        {"listen: {admin: {tls: {cert_file: tls.crt, key_file: text}}}", "listen.admin.tls: cert_file and key_file are no pair: failed to find any PEM data in key input"},
		"feed file":        {"feed: {embedded: {directory: text}}", "feed.embedded.directory \"text\" is not a directory"},
		"feed new":         {"feed: {embedded: {directory: new}}", ""},
		"key new":          {"feed: {embedded: {directory: new}, key_file: new/key}", ""},
		"key elsewhere":    {"feed: {key_file: nowhere/key}", "feed.key_file: the directory \"nowhere\" does not exist" + where},
		"key directory":    {"feed: {key_file: data}", "feed.key_file: \"data\" is a directory"},
		"key here":         {"feed: {key_file: data/feed.key}", ""},
		"key garbage":      {"feed: {key_file: bad.key}", "feed.key_file: feed key bad.key: it must be 32 bytes, or 64 hexadecimal digits such as 'openssl rand -hex 32' prints"},
		"log elsewhere":    {"decision_log: {destination: {file: nowhere/log}}", "decision_log.destination: the directory \"nowhere\" does not exist" + where},
		"log directory":    {"decision_log: {destination: {file: data}}", "decision_log.destination: \"data\" is a directory"},
		"log":              {"decision_log: {destination: {file: data/log}}", ""},
	} {
		t.Run(name, func(t *testing.T) {
			src := "classes: [{name: all}]\nissuers:\n- issuer: https://idp.example\n  audiences: [api]\n"
			if strings.HasPrefix(c.src, "jwks") {
				src += "  "
			}
			path := write(t, "f.yaml", src+c.src+"\n")
			if c.want == "" {
				if _, problems := Load(path); len(problems) > 0 {
					t.Errorf("refused: %v", problems)
				}
				return
			}
			for i, want := range strings.Split(c.want, "\n") {
				lines := strings.Split(refused(t, path), "\n")
				if i >= len(lines) || !strings.HasPrefix(lines[i], "f.yaml:5:") || !strings.HasSuffix(lines[i], ": "+want) {
					t.Errorf("got %v", lines)
				}
			}
		})
	}
}

// pair is a self-signed certificate and its key.
func pair(t *testing.T) (cert, key []byte) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})
}
