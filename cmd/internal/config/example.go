package config

import _ "embed"

// Example is an annotated configuration file to begin with: every key with its
// default, and placeholders for what has none.
//
//go:embed holdfast.yaml
var Example []byte
