//go:build !(linux && amd64)
// +build !linux !amd64

package main

// On this system trpc-go uses go-net unless told otherwise.
const tnetIsDefault = false
