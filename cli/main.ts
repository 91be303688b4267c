#!/usr/bin/env node
/** The command for those who call it by this file. */
import './main.cjs'
