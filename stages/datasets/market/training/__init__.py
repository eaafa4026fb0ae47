"""What a trainer of these bars needs: labels of the bars after a window, the model, and what it is measured against."""
