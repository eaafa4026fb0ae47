"""What a trainer of these episodes needs: transitions, feature groups, exports, and live use."""
