"""What a record is: vocabulary, tables, rules that hold for one record, who may read and write it."""
