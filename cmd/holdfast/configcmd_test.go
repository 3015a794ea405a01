package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// holdfast runs a verb in this process.
func holdfast(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	root := newRootCommand()
	root.SetArgs(args)
	root.SetOut(&out)
	root.SetErr(&errs)
	code = run(context.Background(), root)
	return code, out.String(), errs.String()
}

func configFile(t *testing.T, name, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

const (
	goodConfig = "version: 1\nissuers: [{issuer: https://idp.example, audiences: [api]}]\nclasses: [{name: all, max_age: 15m}]\n"
	badConfig  = "version: 1\nisuers: []\nclasses: [{name: all, max_age: 15}]\n"
)

func TestConfigValidate(t *testing.T) {
	good, bad := configFile(t, "good.yaml", goodConfig), configFile(t, "bad.yaml", badConfig)

	code, stdout, stderr := holdfast(t, "config", "validate", good)
	if code != 0 || stdout != good+": ok (1 issuer, 1 class, 0 routes)\n" || stderr != "" {
		t.Errorf("good: %d %q %q", code, stdout, stderr)
	}

	code, stdout, stderr = holdfast(t, "config", "validate", bad, good)
	if code != exitInvalid || stdout != good+": ok (1 issuer, 1 class, 0 routes)\n" {
		t.Errorf("bad: %d %q", code, stdout)
	}
	want := bad + `:2:1: unknown key "isuers"; did you mean issuers?
    isuers: []
    ^
` + bad + `:3:32: classes[0].max_age is 15 without a unit: write 15s, 15m or 15h
    classes: [{name: all, max_age: 15}]
                                   ^
holdfast: 1 of 2 files are not valid
`
	if stderr != want {
		t.Errorf("bad:\n%s\nwant:\n%s", stderr, want)
	}
	place := regexp.MustCompile(`^\S+:\d+:\d+: \S`)
	for line := range strings.Lines(stderr) {
		if strings.HasPrefix(line, bad) && !place.MatchString(line) {
			t.Errorf("no place in %q", line)
		}
	}
}

func TestConfigUsage(t *testing.T) {
	good := configFile(t, "good.yaml", goodConfig)
	for _, args := range [][]string{
		{"config", "validate"},
		{"config", "print"},
		{"config", "print", good},
		{"config", "print", "--efective", "-c", good},
		{"config", "schema", "x"},
		{"config", "init", "x"},
	} {
		if code, stdout, stderr := holdfast(t, args...); code != exitUsage || stdout != "" || !strings.HasPrefix(stderr, "holdfast: ") {
			t.Errorf("%v: %d %q %q", args, code, stdout, stderr)
		}
	}
}

func TestConfigMissingFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "none.yaml")
	for _, args := range [][]string{{"config", "validate", path}, {"config", "print", "-c", path}} {
		code, stdout, stderr := holdfast(t, args...)
		if code != exitInvalid || stdout != "" || !strings.HasPrefix(stderr, path+": cannot open it: no such file or directory\n") {
			t.Errorf("%v: %d %q %q", args, code, stdout, stderr)
		}
	}
}

func TestConfigPrint(t *testing.T) {
	good, bad := configFile(t, "good.yaml", goodConfig), configFile(t, "bad.yaml", badConfig)
	code, stdout, stderr := holdfast(t, "config", "print", "-c", good)
	if want := "version: 1\nissuers:\n- issuer: https://idp.example\n  audiences: [api]\nclasses:\n- name: all\n  max_age: 15m\n"; code != 0 || stdout != want {
		t.Errorf("print: %d %q %q", code, stdout, stderr)
	}
	code, stdout, _ = holdfast(t, "config", "print", "--effective", "-c", good)
	if code != 0 || !strings.Contains(stdout, "retention: 720h\n") || !strings.Contains(stdout, "max_age: 15m\n") {
		t.Errorf("effective: %d %q", code, stdout)
	}
	again := configFile(t, "again.yaml", stdout)
	if code, twice, stderr := holdfast(t, "config", "print", "--effective", "-c", again); code != 0 || twice != stdout {
		t.Errorf("printed twice: %d %q %q", code, twice, stderr)
	}
	if code, stdout, stderr := holdfast(t, "config", "print", "-c", bad); code != exitInvalid || stdout != "" || !strings.Contains(stderr, ":2:1: ") {
		t.Errorf("bad: %d %q %q", code, stdout, stderr)
	}
}

func TestConfigSchemaAndInit(t *testing.T) {
	code, stdout, stderr := holdfast(t, "config", "schema")
	if code != 0 || !json.Valid([]byte(stdout)) || stderr != "" {
		t.Errorf("schema: %d %q", code, stderr)
	}
	code, stdout, stderr = holdfast(t, "config", "init")
	if code != 0 || stderr != "" {
		t.Errorf("init: %d %q", code, stderr)
	}
	path := configFile(t, "holdfast.yaml", stdout)
	if code, _, stderr := holdfast(t, "config", "validate", path); code != 0 {
		t.Errorf("what init prints is not valid: %s", stderr)
	}
}

// TestConfigHelp: each verb says what it does and shows how it is called.
func TestConfigHelp(t *testing.T) {
	for _, verb := range []string{"", "init", "validate", "print", "schema"} {
		args := append([]string{"config"}, strings.Fields(verb)...)
		code, stdout, _ := holdfast(t, append(args, "--help")...)
		if code != 0 || !strings.Contains(stdout, "Examples:\n  holdfast config ") {
			t.Errorf("%v: %d\n%s", args, code, stdout)
		}
	}
}
