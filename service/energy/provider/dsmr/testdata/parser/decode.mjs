// Reads a telegram from standard input and prints what dsmr-parser makes of it.
import parser from 'dsmr-parser';
import {readFileSync} from 'node:fs';
console.log(JSON.stringify(parser.parse(readFileSync(0, 'utf8')).objects));
